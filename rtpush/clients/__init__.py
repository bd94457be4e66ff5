"""What a Python client is made of; `rtpush.client` puts it together."""
