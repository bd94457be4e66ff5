"""Sources: where settings come from, which wins, and what is refused how."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtpush.config.settings import SETTINGS, ConfigError, Setting, Settings
from rtpush.config.sources import load

# A value for each setting that is allowed and not its default.
OTHER = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("8080", 8080),
    "client": (".", Path(".")),
    "content_security_policy": ("default-src *", "default-src *"),
    "log": ("memory:", "memory:"),
    "retention_count": ("5", 5),
    "retention_bytes": ("1MB", 10**6),
    "retention_age": ("2d", 172800.0),
    "task_ttl": ("1.5h", 5400.0),
    "cancel_timeout": ("0", 0.0),
    "claim_lease": ("10s", 10.0),
    "max_attempts": ("1", 1),
    "finished_for": ("0", 0.0),
    "heartbeat": ("5", 5.0),
    "write_timeout": ("2m", 120.0),
    "poll_timeout": ("60", 60.0),
    "session_lease": ("90s", 90.0),
    "high_water": ("4096", 4096),
    "grace": ("1500ms", 1.5),
    "compress": ("false", False),
    "relay": ("chat_*, ping_all", ("chat_*", "ping_all")),
    "rooms": (
        '{"chat:*": {"history_age": "1h", "events": "msg,typing"}}',
        {"chat:*": {"history_age": 3600, "events": ["msg", "typing"]}},
    ),
    "open_rooms": ("public_*, lobby", ("public_*", "lobby")),
    "max_message": ("2KiB", 2048),
    "max_batch": ("7", 7),
    "max_body": ("1GiB", 2**30),
    "max_rooms": ("3", 3),
    "max_connections": ("9", 9),
    "max_per_address": ("7", 7),
    "max_per_subject": ("6", 6),
    "tls_cert": ("cert.pem", Path("cert.pem")),
    "tls_key": ("key.pem", Path("key.pem")),
    "auth_secret": ("s3cret", "s3cret"),
    "auth_keys": ("jwks.json", "jwks.json"),
    "auth_audience": ("push", "push"),
    "auth_leeway": ("1m", 60.0),
    "token_in_query": ("true", True),
    "api_keys": ("ab" * 32, ("ab" * 32,)),
    "insecure": ("true", True),
    "allow_origins": (
        "https://a.example, https://b.example",
        ("https://a.example", "https://b.example"),
    ),
    "allow_hosts": ("push.example.com", ("push.example.com",)),
    "hooks": (
        '{"url": "https://a.example/", "secret": "' + "ab" * 16 + '"}',
        {"url": "https://a.example/", "secret": "ab" * 16},
    ),
    "trusted_proxies": ("10.0.0.0/8,::1", ("10.0.0.0/8", "::1")),
    "max_tasks": ("8", 8),
    "max_task": ("4KiB", 4096),
    "max_board": ("8KiB", 8192),
    "max_retained": ("9", 9),
    "max_state": ("16KiB", 16384),
    "rate_messages": ("10", 10),
    "rate_bytes": ("1KiB", 1024),
    "request_timeout": ("3s", 3.0),
    "workers": ("4", 4),
    "demo": ("true", True),
    "log_level": ("debug", "debug"),
}

each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)


def problems(tmp_path: Path, *argv: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(argv, environ, tmp_path)
    return caught.value.problems


def flags_for(setting: Setting, text: str) -> list[str]:
    if setting.kind.metavar:
        return [setting.flag, text]
    return [setting.flag if text == "true" else setting.flag.replace("--", "--no-", 1)]


# ---- sources and precedence --------------------------------------------------


def test_without_sources_the_defaults_hold(tmp_path: Path) -> None:
    assert load([], {}, tmp_path) == Settings()


@each_setting
def test_text_means_the_same_in_every_source(setting: Setting, tmp_path: Path) -> None:
    text, value = OTHER[setting.name]
    expected = Settings(**{setting.name: value})
    assert expected != Settings()
    assert load(flags_for(setting, text), {}, tmp_path) == expected
    assert load([], {setting.env: text}, tmp_path) == expected
    (tmp_path / "rtpush.toml").write_text(f"{setting.name} = '{text}'\n")
    assert load([], {}, tmp_path) == expected
    assert Settings(**{setting.name: text}) == expected


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    assert load([], {}, tmp_path).port == 5000
    (tmp_path / "rtpush.toml").write_text("port = 1")
    assert load([], {}, tmp_path).port == 1
    assert load([], {"RTPUSH_PORT": "2"}, tmp_path).port == 2
    assert load(["--port", "3"], {"RTPUSH_PORT": "2"}, tmp_path).port == 3


def test_named_file_wins_over_named_by_environment_over_default_file(tmp_path: Path) -> None:
    for number, name in enumerate(["rtpush.toml", "env.toml", "flag.toml"], 1):
        (tmp_path / name).write_text(f"port = {number}")
    environ = {"RTPUSH_CONFIG": "env.toml"}
    assert load([], {}, tmp_path).port == 1
    assert load([], environ, tmp_path).port == 2
    assert load(["--config", "flag.toml"], environ, tmp_path).port == 3


def test_toml_has_its_own_types(tmp_path: Path) -> None:
    (tmp_path / "rtpush.toml").write_text(
        'port = 0\nheartbeat = 2.5\ncompress = false\nrelay = ["chat", "note_*"]\nmax_body = 2048'
    )
    settings = load([], {}, tmp_path)
    assert (settings.port, settings.heartbeat, settings.compress) == (0, 2.5, False)
    assert (settings.relay, settings.max_body) == (("chat", "note_*"), 2048)


@pytest.mark.parametrize(
    ("argv", "relay"),
    [
        (["--relay", "a", "--relay", "b,c"], ("a", "b", "c")),
        (["--relay", ""], ()),
        (["--relay="], ()),
    ],
)
def test_relay_is_repeatable(argv: list[str], relay: tuple[str, ...], tmp_path: Path) -> None:
    assert load(argv, {}, tmp_path).relay == relay


def test_the_variables_of_the_test_suite_are_no_settings(tmp_path: Path) -> None:
    assert load([], {"RTPUSH_TEST_ALL": "1", "PATH": "/bin"}, tmp_path) == Settings()


# ---- refusals ----------------------------------------------------------------

BAD = [
    ("host", "", "is not a host name or an IP address"),
    ("host", "a..b", "is not a host name or an IP address"),
    ("host", "http://localhost", "without scheme or brackets"),
    ("host", "[::1]", "without scheme or brackets"),
    ("port", "65536", "'65536' is not a whole number from 0 to 65535"),
    ("port", "-1", "from 0 to 65535"),
    ("port", "http", "from 0 to 65535"),
    ("log", "redis:6379", "redis://HOST:PORT/DB"),
    ("log", "redis://h/0?prefix=a{b}", "prefix has 1 to 64"),
    ("log", "redis+sentinel://a,b", "name the service"),
    ("log", "redis://h/main", "number of a database"),
    ("log", "rediss+sentinel://a,b/main/x", "number of a database"),
    ("log", "redis+cluster://a", "redis://HOST:PORT/DB"),
    ("log", "valkey://localhost", "write redis://HOST"),
    ("log", "memory", "did you mean memory:?"),
    ("log", "events.db", "did you mean sqlite:events.db?"),
    ("log", "sqlite:", "is not memory:, sqlite:PATH or redis://HOST"),
    ("log", "sqlite:///tmp/x.db", "PATH is a plain path"),
    ("log", "postgres:x", "is not memory:, sqlite:PATH or redis://HOST"),
    ("retention_count", "0", "a whole number of at least 1"),
    ("retention_bytes", "1", "a size from 1KiB"),
    ("retention_age", "0", "a duration from 1s"),
    ("heartbeat", "0.5", "a duration from 1s to 60m"),
    ("heartbeat", "1 fortnight", "like 30s, 10m, 24h or 7d"),
    ("poll_timeout", "61", "a duration from 100ms to 60s"),
    ("high_water", "12 parsecs", "like 4096, 64KiB or 256MB"),
    ("max_rooms", "1e3", "a whole number from 1 to 1000000"),
    ("relay", "x" * 129, "event names of up to 128 characters"),
    ("log_level", "wraning", "did you mean warning?"),
]


@pytest.mark.parametrize(("name", "text", "sentence"), BAD)
def test_a_bad_value_is_refused_by_name(
    name: str, text: str, sentence: str, tmp_path: Path
) -> None:
    setting = next(setting for setting in SETTINGS if setting.name == name)
    [flag] = problems(tmp_path, f"{setting.flag}={text}")
    [env] = problems(tmp_path, **{setting.env: text})
    (tmp_path / "rtpush.toml").write_text(f'{name} = "{text}"')
    [toml] = problems(tmp_path)
    with pytest.raises(ConfigError) as caught:
        Settings(**{name: text})
    [python] = caught.value.problems
    assert flag.startswith(f"{setting.flag}: ")
    assert env.startswith(f"{setting.env}: ")
    assert toml.startswith(f"rtpush.toml: {name}: ")
    assert python.startswith(f"{name}: ")
    assert all(sentence in problem for problem in (flag, env, toml, python))


def test_every_list_is_a_list_in_toml_and_repeatable_as_a_flag(tmp_path: Path) -> None:
    (tmp_path / "rtpush.toml").write_text('allow_hosts = ["a", "b,c"]\ntrusted_proxies = []')
    settings = load(["--api-keys", "ab" * 32, "--api-keys", "cd" * 32], {}, tmp_path)
    assert settings.allow_hosts == ("a", "b", "c")
    assert settings.trusted_proxies == ()
    assert settings.api_keys == ("ab" * 32, "cd" * 32)


def test_what_is_secret_stands_in_no_message(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        f"--log=redis://user:{'hush' * 30}@host/main",
        RTPUSH_AUTH_SECRET="hush\n",
        RTPUSH_API_KEYS="rtpk_hush",
    )
    assert len(found) == 3
    assert not [problem for problem in found if "hush" in problem]


@pytest.mark.parametrize("value", ["{}", "[5000]", "1979-05-27", "nan", "true"])
def test_toml_values_of_another_type_are_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "rtpush.toml").write_text(f"port = {value}")
    [problem] = problems(tmp_path)
    assert problem.startswith("rtpush.toml: port: ")
    assert problem.endswith("is not a whole number from 0 to 65535")


def test_switches_take_words(tmp_path: Path) -> None:
    assert load([], {"RTPUSH_DEMO": "On"}, tmp_path).demo
    assert problems(tmp_path, RTPUSH_DEMO="2") == ["RTPUSH_DEMO: '2' is not true or false"]


def test_unknown_names_are_refused_with_a_guess(tmp_path: Path) -> None:
    (tmp_path / "rtpush.toml").write_text('retention-age = "1d"\n[server]\nport = 1')
    assert problems(tmp_path, "--prot", "1", RTPUSH_PORTS="1", RTPUSH_XYZZY="1") == [
        "unknown option --prot; did you mean --port?",
        "unknown environment variable RTPUSH_PORTS; did you mean RTPUSH_PORT?",
        "unknown environment variable RTPUSH_XYZZY; see rtpush serve --help for all of them",
        "rtpush.toml: unknown key retention-age; did you mean retention_age?",
        "rtpush.toml: unknown key server; see rtpush serve --help for all of them",
    ]


def test_all_problems_come_at_once_even_of_values_that_would_lose(tmp_path: Path) -> None:
    found = problems(tmp_path, "--port", "1", "--log", "x", RTPUSH_PORT="x", RTPUSH_GRACE="x")
    assert [problem.partition(":")[0] for problem in found] == [
        "RTPUSH_GRACE",
        "RTPUSH_PORT",
        "--log",
    ]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--port"], "argument --port: expected one argument; see --help"),
        (["8080"], "unexpected argument '8080'; see --help"),
        (["--por", "1"], "unknown option --por; did you mean --port?"),
    ],
)
def test_a_bad_command_line(argv: list[str], sentence: str, tmp_path: Path) -> None:
    assert problems(tmp_path, *argv) == [sentence]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    assert "absent.toml does not exist" in problems(tmp_path, "--config", "absent.toml")[0]
    assert "cannot be read" in problems(tmp_path, "--config", ".")[0]
    (tmp_path / "rtpush.toml").write_text("port 5000")
    assert "rtpush.toml is not valid TOML" in problems(tmp_path)[0]
    (tmp_path / "rtpush.toml").write_bytes(b"\xff")
    assert "rtpush.toml is not valid TOML" in problems(tmp_path)[0]


def test_the_client_must_be_a_directory(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert problems(tmp_path, f"--client={absent}") == [
        f"--client: '{absent}' is not a directory; there is no {absent}"
    ]


def test_long_values_are_cut_in_messages(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "--port", "9" * 9999)
    assert len(problem) < 200


LINKS = {
    "RTPUSH_SERVICE_HOST": "10.0.0.1",
    "RTPUSH_SERVICE_PORT": "80",
    "RTPUSH_SERVICE_PORT_HTTP": "80",
    "RTPUSH_PORT": "tcp://10.0.0.1:80",
    "RTPUSH_PORT_80_TCP": "tcp://10.0.0.1:80",
    "RTPUSH_PORT_80_TCP_PROTO": "tcp",
    "RTPUSH_PORT_80_TCP_PORT": "80",
    "RTPUSH_PORT_80_TCP_ADDR": "fd00::1",
    "RTPUSH_REDIS_SERVICE_HOST": "10.0.0.2",
    "RTPUSH_REDIS_PORT": "tcp://10.0.0.2:6379",
    "RTPUSH_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
}


def test_variables_of_a_kubernetes_service_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = LINKS | {"RTPUSH_HEARTBEAT": "5s"}
    assert load([], environ, tmp_path) == Settings(heartbeat=5)
    (record,) = caplog.records
    assert record.getMessage().endswith(": " + ", ".join(sorted(LINKS)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RTPUSH_PORT", "80a"),
        ("RTPUSH_PORTS", "tcp://10.0.0.1:80"),
        ("RTPUSH_SERVICE_HOST", "push.example.com"),
        ("RTPUSH_SERVICE_PORT", "http"),
        ("RTPUSH_PORT_80_TCP_PROTO", "yes"),
    ],
)
def test_what_is_no_variable_of_a_service_is_still_refused(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        load([], {name: value}, tmp_path)
