"""`rtpush token`: make tokens for clients and API keys for publishers.

The secret comes from the environment or the TOML file, and not from a flag,
which would stay in the shell's history. stdout has the token or key alone, for
pipes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..config.settings import ConfigError
from ..config.sources import load
from .common import FAILED, USAGE, Parser, duration, fail

__all__ = ["main", "make_parser"]

EXAMPLES = """\
examples:
  rtpush token ada --room 'team-*' --room lobby      for a client
  rtpush token worker --publish --for 30d            for a publisher
  rtpush token --api-key                   an API key, and its hash on stderr
  rtpush token --api-key --save            the same, in a file beside the log

A token (JWT, HS256) is signed with the server's auth_secret, which is taken
from where the server takes it: RTPUSH_AUTH_SECRET, or rtpush.toml.
"""


def main(argv: Sequence[str]) -> int:
    """Print a token or a key. Exit code 2 when there is no secret to sign with."""
    args = make_parser().parse(argv)
    # Imported here, because --help needs none of it.
    from ..access.auth import SHORTEST_SECRET

    if args.save and not args.api_key:
        return fail(["--save is for an API key: rtpush token --api-key --save"], USAGE)
    if args.api_key:
        return _make_api_key(save=args.save)
    try:
        secret = load([], os.environ, Path.cwd()).auth_secret
    except ConfigError as exc:
        return fail(exc.problems, USAGE)
    if len(secret.encode()) < SHORTEST_SECRET:
        problem = (
            f"RTPUSH_AUTH_SECRET (or auth_secret in rtpush.toml) needs {SHORTEST_SECRET} bytes "
            'or more; make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
        return fail([problem], USAGE)
    return _sign(args, secret)


def _make_api_key(*, save: bool) -> int:
    from ..access.auth import hash_api_key, new_api_key
    from ..access.key_file import KeyFileError, local_key_file, write_key_file

    key = new_api_key()
    if save:
        path = local_key_file(os.environ, Path.cwd())
        try:
            write_key_file(path, key)
        except KeyFileError as exc:
            return fail([str(exc)], FAILED)
        print(f"saved in {path}: a server started here takes it, and so do", file=sys.stderr)
        print("rtpush publish and Publisher", file=sys.stderr)
    else:
        print(f"for the setting api_keys: {hash_api_key(key)}", file=sys.stderr)
    print(key)
    return 0


def _sign(args: argparse.Namespace, secret: str) -> int:
    try:
        import jwt
    except ImportError:
        return fail(["tokens need PyJWT; install it: pip install 'rtpush[jwt]'"], FAILED)
    claims = {"sub": args.subject, "exp": int(time.time() + args.duration)}
    optional = {
        "rooms": args.room,
        "emit": args.emit,
        "publish": args.publish or None,
        "aud": args.audience,
    }
    claims |= {name: value for name, value in optional.items() if value is not None}
    if claims["sub"] is None:
        del claims["sub"]
    print(jwt.encode(claims, secret, "HS256"))
    return 0


def make_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser("token", EXAMPLES)
    parser.add_argument(
        "subject", nargs="?", metavar="SUBJECT", help="the client or publisher: the claim `sub`"
    )
    parser.add_argument(
        "--room", action="append", help="a room it may join, or a pattern; repeatable"
    )
    parser.add_argument(
        "--emit", action="append", help="an event it may send, or a pattern; repeatable [all]"
    )
    parser.add_argument("--publish", action="store_true", help="allow the HTTP API")
    parser.add_argument("--audience", help="the claim `aud`")
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        default=3600.0,
        metavar="TIME",
        help="how long it is valid, like 30d [1h]",
    )
    parser.add_argument("--api-key", action="store_true", help="make an API key instead")
    parser.add_argument(
        "--save",
        action="store_true",
        help="keep the API key in a file beside the log, where server and publishers find it",
    )
    return parser
