"""The codec: every frame comes back as it was, and no bytes can do more than be refused."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import TYPE_CHECKING
from typing import Final
from typing import get_args

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from pytest_isolate.wire import codec
from pytest_isolate.wire.codec import MAX_FRAME
from pytest_isolate.wire.codec import VERSION
from pytest_isolate.wire.codec import Decoder
from pytest_isolate.wire.codec import encode
from pytest_isolate.wire.errors import LocalProtocolError
from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import Born
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Failed
from pytest_isolate.wire.frames import Frame
from pytest_isolate.wire.frames import Hello
from pytest_isolate.wire.frames import Made
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Prepare
from pytest_isolate.wire.frames import Ready
from pytest_isolate.wire.frames import Refused
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Retire
from pytest_isolate.wire.frames import Stop
from pytest_isolate.wire.frames import Unready
from pytest_isolate.wire.frames import Warned

if TYPE_CHECKING:
    from collections.abc import Mapping

# Surrogates too, and often enough a pair of them side by side.
TEXT: Final = st.text(st.characters(exclude_categories=())) | st.text("a\ud83d\ude00\udcff😀\n\0")
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
OBJECT: Final = st.dictionaries(TEXT, JSON, max_size=4)
STRATEGIES: Final[Mapping[type[Frame], st.SearchStrategy[Frame]]] = {
    Confined: st.builds(Confined),
    Refused: st.builds(Refused, error=OBJECT),
    Phase: st.builds(Phase, nodeid=TEXT, when=TEXT),
    Report: st.builds(Report, data=OBJECT),
    Warned: st.builds(
        Warned,
        warning=OBJECT,
        when=TEXT,
        nodeid=TEXT,
        location=st.none() | st.lists(JSON, max_size=4),
    ),
    Stop: st.builds(Stop, kind=TEXT, reason=TEXT, returncode=st.none() | st.integers()),
    Event: st.builds(Event, name=TEXT, data=OBJECT),
    Bye: st.builds(Bye),
    Prepare: st.builds(Prepare, sandbox=st.integers(), spec=OBJECT),
    Retire: st.builds(Retire, sandbox=st.integers()),
    Hello: st.builds(Hello, capabilities=st.lists(OBJECT, max_size=4)),
    Ready: st.builds(
        Ready,
        sandbox=st.integers(),
        names=st.lists(TEXT, max_size=4),
        shortfalls=st.lists(OBJECT, max_size=4),
    ),
    Unready: st.builds(Unready, sandbox=st.integers(), error=OBJECT),
    Born: st.builds(Born, pid=st.integers()),
    Made: st.builds(Made, shortfalls=st.lists(OBJECT, max_size=4), layers=OBJECT),
    Failed: st.builds(Failed, error=OBJECT),
}
unhurried: Final = settings(deadline=None)  # the machine may be busy
FRAMES: Final = st.one_of(*STRATEGIES.values())


def decode(data: bytes) -> list[Frame]:
    """Return the frames of the whole stream *data*."""
    decoder = Decoder()
    frames = list(decoder.feed(data))
    decoder.eof()
    return frames


def framed(body: bytes) -> bytes:
    """Return *body* with the header that it should have."""
    return struct.pack("!BI", VERSION, len(body)) + body


def refusal(data: bytes) -> str:
    """Return the words in which the stream *data* is refused."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_there_is_a_strategy_for_every_frame() -> None:
    assert set(STRATEGIES) == set(get_args(Frame))


@unhurried
@given(frame=FRAMES)
def test_any_frame_comes_back_as_it_was(frame: Frame) -> None:
    # repr tells what == does not: NaN is NaN, True is not 1, -0.0 is not 0.0.
    assert [repr(one) for one in decode(encode(frame))] == [repr(frame)]


@unhurried
@given(text=TEXT)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert decode(encode(Phase(text, "call"))) == [Phase(text, "call")]


def test_a_tuple_becomes_a_list_and_a_number_as_key_a_string() -> None:
    assert decode(encode(Report({"a": (1, 2), "b": {3: 4}}))) == [
        Report({"a": [1, 2], "b": {"3": 4}})
    ]


@unhurried
@given(frames=st.lists(FRAMES, max_size=5), data=st.data())
def test_any_cut_of_the_stream_gives_the_same_frames(
    frames: list[Frame], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = Decoder()

    decoded: list[Frame] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoded += decoder.feed(stream[begin:end])
    decoder.eof()

    assert repr(decoded) == repr(frames)


def test_the_stream_may_come_byte_by_byte() -> None:
    decoder = Decoder()
    stream = encode(Phase("test_x", "call")) + encode(Bye())

    decoded = [frame for byte in stream for frame in decoder.feed(bytes([byte]))]

    assert decoded == [Phase("test_x", "call"), Bye()]


def test_feed_takes_the_data_even_if_its_iterator_is_used_late() -> None:
    decoder = Decoder()
    stream = encode(Confined())

    first = decoder.feed(stream[:3])
    second = decoder.feed(stream[3:])

    assert [list(first), list(second)] == [[Confined()], []]


@unhurried
@given(frames=st.lists(FRAMES, min_size=1, max_size=3), data=st.data())
def test_a_truncated_stream_is_told_from_a_whole_one(
    frames: list[Frame], data: st.DataObject
) -> None:
    encoded = [encode(frame) for frame in frames]
    cut = data.draw(st.integers(1, len(encoded[-1]) - 1))
    decoder = Decoder()

    decoded = list(decoder.feed(b"".join(encoded)[:-cut]))

    assert repr(decoded) == repr(frames[:-1])
    assert decoder.unfinished == len(encoded[-1]) - cut
    with pytest.raises(RemoteProtocolError, match="ended inside a frame"):
        decoder.eof()


def test_the_end_between_two_frames_is_no_breach() -> None:
    decoder = Decoder()
    list(decoder.feed(encode(Bye())))

    decoder.eof()

    assert decoder.unfinished == 0


def survives(data: bytes) -> None:
    """Check that *data* decodes or is refused; any other exception fails the test."""
    try:
        decode(data)
    except RemoteProtocolError as error:
        assert "\n" not in str(error)  # noqa: PT017  # a frame may also be good by chance


@unhurried
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_only_ever_refused(data: bytes) -> None:
    survives(data)


@unhurried
@given(body=st.binary(max_size=200))
def test_arbitrary_bodies_are_only_ever_refused(body: bytes) -> None:
    refusal(framed(body))


@unhurried
@given(value=JSON)
def test_arbitrary_json_is_only_ever_refused(value: object) -> None:
    survives(framed(json.dumps(value).encode()))


@unhurried
@given(kind=st.sampled_from([kind.__name__ for kind in get_args(Frame)]) | TEXT, fields=OBJECT)
def test_arbitrary_fields_are_only_ever_refused(kind: str, fields: dict[str, object]) -> None:
    survives(framed(json.dumps([kind, fields]).encode()))


@unhurried
@given(frame=FRAMES, data=st.data())
def test_a_changed_byte_is_only_ever_refused(frame: Frame, data: st.DataObject) -> None:
    stream = bytearray(encode(frame))
    stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(stream))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'["Bye",{}', "not JSON"),
        (b'["Bye",{}] ["Bye",{}]', "not JSON"),
        (b'["Retire",{"sandbox":' + b"1" * 5000 + b"}]", "not JSON"),
        (b"null", "not a kind and its fields"),
        (b"[]", "not a kind and its fields"),
        (b'["Bye"]', "not a kind and its fields"),
        (b'["Bye",{},{}]', "not a kind and its fields"),
        (b'["Bye",[]]', "not a kind and its fields"),
        (b'[["Bye"],{}]', "not a kind and its fields"),
        (b'{"Bye":{}}', "not a kind and its fields"),
        (b'["bye",{}]', "no frame is called 'bye'"),
        (b'["__class__",{}]', "no frame is called '__class__'"),
        (b'["a\\nb' + b"x" * 10_000 + b'",{}]', "no frame is called 'a\\nbxxx"),
        (b'["Bye",{"x":1}]', "Bye lacks a field or has one too many: 'x'"),
        (b'["Phase",{"nodeid":"x"}]', "Phase lacks a field or has one too many: 'when'"),
        (
            b'["Bye",{"\\n' + b"x" * 10_000 + b'":1}]',
            "Bye lacks a field or has one too many: '\\nx",
        ),
    ],
)
def test_what_is_no_frame_is_refused_in_one_short_line(body: bytes, words: str) -> None:
    assert words in refusal(framed(body))


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        ("Phase", {"nodeid": None, "when": "call"}, "Phase.nodeid"),
        ("Phase", {"nodeid": "x", "when": ["call"]}, "Phase.when"),
        ("Report", {"data": []}, "Report.data"),
        ("Report", {"data": None}, "Report.data"),
        ("Stop", {"kind": "exit", "reason": "", "returncode": "1"}, "Stop.returncode"),
        ("Stop", {"kind": "exit", "reason": "", "returncode": True}, "Stop.returncode"),
        ("Stop", {"kind": "exit", "reason": "", "returncode": 1.0}, "Stop.returncode"),
        ("Warned", {"warning": {}, "when": "", "nodeid": "", "location": {}}, "Warned.location"),
        ("Retire", {"sandbox": 1.5}, "Retire.sandbox"),
        ("Retire", {"sandbox": None}, "Retire.sandbox"),
        ("Hello", {"capabilities": {}}, "Hello.capabilities"),
        ("Hello", {"capabilities": ["x"]}, "Hello.capabilities"),
        (
            "Ready",
            {"sandbox": 1, "names": "ab", "shortfalls": [], "scratch": "", "layers": {}},
            "Ready.names",
        ),
        (
            "Ready",
            {"sandbox": 1, "names": ["a", 1], "shortfalls": [], "scratch": "", "layers": {}},
            "Ready.names",
        ),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(
    kind: str, fields: dict[str, object], field: str
) -> None:
    assert field in refusal(framed(json.dumps([kind, fields]).encode()))


@pytest.mark.parametrize("brackets", [b"[]", b'{"a":}'])
def test_deep_nesting_is_refused(brackets: bytes) -> None:
    depth = 100_000
    nested = brackets[:-1] * depth + b"0" + brackets[-1:] * depth

    assert "not JSON" in refusal(framed(b'["Report",{"data":{"a":' + nested + b"}}]"))


def test_another_version_is_refused() -> None:
    data = bytearray(encode(Bye()))
    data[0] = VERSION + 1

    assert "not with version 1" in refusal(bytes(data))


def test_text_on_the_stream_is_refused_as_not_a_frame() -> None:
    assert "not a frame: it begins with byte 0x54" in refusal(b"Traceback (most recent call last)")


def test_a_claim_over_the_limit_is_refused_before_its_body_comes() -> None:
    decoder = Decoder()

    with pytest.raises(RemoteProtocolError, match=str(MAX_FRAME)):
        list(decoder.feed(struct.pack("!BI", VERSION, MAX_FRAME + 1)))


def test_a_claim_of_the_limit_allocates_nothing_for_a_body_that_has_not_come() -> None:
    decoder = Decoder()
    header = struct.pack("!BI", VERSION, MAX_FRAME)
    tracemalloc.start()
    try:
        assert list(decoder.feed(header + b"x" * 10)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100_000


def test_a_length_that_lies_is_refused() -> None:
    body = encode(Phase("test_x", "call"))[5:]

    assert "not JSON" in refusal(struct.pack("!BI", VERSION, len(body) - 1) + body)
    assert "ended inside a frame" in refusal(struct.pack("!BI", VERSION, len(body) + 1) + body)


def test_good_frames_before_a_breach_are_delivered() -> None:
    frames = Decoder().feed(encode(Confined()) + encode(Phase("test_x", "call")) + b"garbage")

    assert [next(frames), next(frames)] == [Confined(), Phase("test_x", "call")]
    with pytest.raises(RemoteProtocolError):
        next(frames)


def test_nothing_is_believed_after_a_breach() -> None:
    decoder = Decoder()
    with pytest.raises(RemoteProtocolError) as first:
        list(decoder.feed(b"garbage"))

    with pytest.raises(RemoteProtocolError) as second:
        list(decoder.feed(encode(Bye())))
    with pytest.raises(RemoteProtocolError) as third:
        decoder.eof()

    assert str(first.value) == str(second.value) == str(third.value)
    assert decoder.unfinished == 0


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, {(1, 2): 3}])
def test_a_value_that_json_cannot_hold_is_a_local_error(value: object) -> None:
    with pytest.raises(LocalProtocolError, match=r"^Report cannot be sent as JSON: "):
        encode(Report({"a": value}))


def test_a_number_too_long_to_be_read_back_is_a_local_error() -> None:
    with pytest.raises(LocalProtocolError, match=r"^Report cannot be sent as JSON: "):
        encode(Report({"a": 10**5000}))


def test_a_cycle_is_a_local_error() -> None:
    data: dict[str, object] = {}
    data["self"] = data

    with pytest.raises(LocalProtocolError, match=r"^Report cannot be sent as JSON: "):
        encode(Report(data))


def test_the_limit_is_the_largest_body_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Phase("x" * 1000, "call")
    data = encode(frame)

    monkeypatch.setattr(codec, "MAX_FRAME", len(data) - 5)
    assert decode(encode(frame)) == [frame]

    monkeypatch.setattr(codec, "MAX_FRAME", len(data) - 6)
    with pytest.raises(LocalProtocolError, match="the limit is"):
        encode(frame)
    assert "the limit is" in refusal(data)


@pytest.mark.parametrize("unit", ["[],", "{},", '"",', '"\\"[{,",0,'])
def test_a_frame_that_would_swell_in_memory_is_refused_undecoded(unit: str) -> None:
    # It is no JSON at its end: had it been decoded, it would be refused for that.
    body = b'["Report",{"data":{"a":[' + unit.encode() * 1_000_000

    assert refusal(framed(body)) == "a frame holds over 1000000 values"


def test_a_frame_that_the_other_side_would_refuse_for_its_values_is_a_local_error() -> None:
    with pytest.raises(LocalProtocolError, match="over 1000000 values"):
        encode(Report({"a": [0] * 1_000_001}))


@pytest.mark.parametrize("text", ["[{,", '"[{,', '\\"[{,', '\\\\"[{,\n'])
def test_separators_inside_a_long_text_are_no_values(text: str) -> None:
    frame = Report({"longrepr": [text * 400_000, text, "\\"]})

    assert decode(encode(frame)) == [frame]


def test_a_frame_of_many_megabytes_comes_back_in_pipe_sized_pieces() -> None:
    frame = Report({"longrepr": "é\n" * 3_000_000})
    data = encode(frame)
    decoder = Decoder()

    decoded: list[Frame] = []
    for begin in range(0, len(data), 65536):
        decoded += decoder.feed(data[begin : begin + 65536])

    assert decoded == [frame]
