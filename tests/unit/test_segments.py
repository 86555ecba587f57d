"""How texts are cut: exact counts, and pairs that are never parted."""

import gsm0338
import pytest
import smsutil
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.content.segments import BASIC, EXTENSION, not_gsm, segment

GSM = gsm0338.Codec()
GSM_TEXT = st.text(alphabet=BASIC + EXTENSION, max_size=700)
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300)


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        pytest.param("", "GSM-7", 0, 1, id="empty"),
        pytest.param("a" * 160, "GSM-7", 160, 1, id="one segment, full"),
        pytest.param("a" * 161, "GSM-7", 161, 2, id="one more"),
        pytest.param("a" * 306, "GSM-7", 306, 2, id="two segments, full"),
        pytest.param("a" * 307, "GSM-7", 307, 3, id="two and one more"),
        pytest.param("a" * 159 + "€", "GSM-7", 161, 2, id="the euro counts twice"),
        pytest.param("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3, id="an escape pair is not parted"),
        pytest.param("ç", "UCS-2", 1, 1, id="small c cedilla is not in GSM-7"),
        pytest.param("Ç", "GSM-7", 1, 1, id="capital C cedilla is"),
        pytest.param("ê" * 70, "UCS-2", 70, 1, id="one UCS-2 segment, full"),
        pytest.param("ê" * 71, "UCS-2", 71, 2, id="UCS-2, one more"),
        pytest.param("🎉", "UCS-2", 2, 1, id="an emoji is two units"),
        pytest.param("ê" * 66 + "🎉" + "ê" * 66, "UCS-2", 134, 3, id="a surrogate pair is not parted"),
        pytest.param("ê{€[", "UCS-2", 4, 1, id="brackets count once in UCS-2"),
        pytest.param("e\u0301", "UCS-2", 2, 1, id="a combining accent is not é"),
        pytest.param("x" * 1224, "GSM-7", 1224, 8, id="the most a provider takes"),
    ],
)
def test_a_text_is_counted_as_the_network_counts(text: str, encoding: str, units: int, segments: int) -> None:
    cut = segment(text)

    assert (cut.encoding, cut.units, cut.segments) == (encoding, units, segments)


@given(GSM_TEXT)
def test_gsm_units_are_the_bytes_of_an_independent_encoder(text: str) -> None:
    assert segment(text).units == len(GSM.encode(text)[0])


@given(ANY_TEXT)
@settings(max_examples=300)
def test_segments_are_those_of_an_independent_splitter(text: str) -> None:
    theirs = smsutil.split(text)

    assert segment(text).segments == max(1, len(theirs.parts))


@given(ANY_TEXT)
def test_the_parts_are_the_text_and_each_fits(text: str) -> None:
    cut = segment(text)
    parts = cut.parts(text)

    assert "".join(parts) == text
    if cut.segments > 1:
        most = 153 if cut.encoding == "GSM-7" else 67
        sizes = [len(GSM.encode(p)[0]) if cut.encoding == "GSM-7" else len(p.encode("utf-16-be")) // 2 for p in parts]
        assert max(sizes) <= most


def test_the_characters_that_force_ucs2_are_named_once() -> None:
    assert not_gsm("ça coûte ça") == ["ç", "û"]
