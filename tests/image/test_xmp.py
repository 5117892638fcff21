"""XMP stays true: sizes and orientation in any form, other pictures and the place gone, nothing expanded."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from pictures import from_pillow, jpeg_with, picture, smooth
from PIL import Image as Pillow

from img2img.cli.main import cli
from img2img.image import EncodeOptions, decode, encode, prepare, xmp
from img2img.image import exif as exif_module
from img2img.image.image import Metadata
from img2img.image.xmp import BrokenPacketError

RDF = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%b</rdf:RDF>'
SPACES = (
    b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
)
_SIGN = b"http://ns.adobe.com/xap/1.0/\0"


def packet(attributes: bytes = b"", content: bytes = b"") -> bytes:
    described = b'<rdf:Description rdf:about=""%b%b>%b</rdf:Description>' % (SPACES, attributes, content)
    return b'<?xpacket begin="\xef\xbb\xbf"?>\n' + RDF % described + b"  \n<?xpacket end='w'?>"


def opened(exif: bytes) -> Pillow.Exif:
    block = Pillow.Exif()
    block.load(exif)
    return block


# what it says stays true


def test_sizes_and_orientation_in_both_forms() -> None:
    attributes = b' tiff:Orientation="6" tiff:ImageWidth = \'4000\' exif:PixelYDimension="3000"'
    content = b"<tiff:ImageLength>3000</tiff:ImageLength><exif:PixelXDimension>4000</exif:PixelXDimension>"
    before = packet(attributes, content)
    assert xmp.orientation(before) == 6
    after = xmp.settled(before, 7, 8)
    assert after == packet(
        b' tiff:Orientation="1" tiff:ImageWidth = \'7\' exif:PixelYDimension="8"',
        b"<tiff:ImageLength>8</tiff:ImageLength><exif:PixelXDimension>7</exif:PixelXDimension>",
    )
    assert xmp.settled(after, 7, 8) == after
    assert xmp.orientation(packet(b"", b"<tiff:Orientation>3</tiff:Orientation>")) == 3


def test_any_prefix_and_none_that_only_looks_right() -> None:
    other = packet().replace(b"xmlns:tiff", b"xmlns:t").replace(b'about=""', b'about="" t:Orientation="5"')
    assert xmp.orientation(other) == 5
    assert b't:Orientation="1"' in xmp.settled(other, 1, 1)
    foreign = packet().replace(b"http://ns.adobe.com/tiff/1.0/", b"urn:x")
    foreign = foreign.replace(b'about=""', b'about="" tiff:Orientation="5"')
    assert xmp.orientation(foreign) is None
    assert b'"5"' in xmp.settled(foreign, 1, 1)
    undeclared = b'<x><rdf:Description tiff:Orientation="8"/></x>'
    assert xmp.orientation(undeclared) == 8


def test_what_it_says_of_other_pictures_stays_or_goes() -> None:
    """An ingredient of a collage has an orientation of its own; thumbnails and gain maps go."""
    inner = b"<rdf:Description><tiff:Orientation>6</tiff:Orientation></rdf:Description>"
    ingredient = b"<xmp:Pantry><rdf:Bag><rdf:li>" + inner + b"</rdf:li></rdf:Bag></xmp:Pantry>"
    thumbnail = b"<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/</rdf:li></rdf:Alt></xmp:Thumbnails>"
    gain = b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
    before = packet(b"", ingredient + thumbnail).replace(b"</rdf:RDF>", gain + b"</rdf:RDF>")
    after = xmp.settled(before, 7, 8)
    assert ingredient in after and b"Thumbnails" not in after and b"hdrgm:Version" not in after
    assert xmp.orientation(before) is None


def test_the_place_goes_whoever_wrote_it() -> None:
    """Drones write it in a space of their own."""
    before = packet(
        b' exif:GPSLatitude="52,31N" xmlns:dji="http://www.dji.com/drone-dji/1.0/" dji:GpsLongitude="13.4"',
        b"<exif:GPSAltitude>34/1</exif:GPSAltitude><dc:subject>GPS</dc:subject>",
    )
    image = picture().replace(metadata=Metadata(xmp=before))
    for extension in (".jpg", ".png", ".webp"):
        after = decode(encode(image, extension, EncodeOptions(strip_gps=True))).metadata.xmp
        assert after is not None and b"<dc:subject>GPS</dc:subject>" in after
        assert not any(word in after for word in (b"52,31", b"13.4", b"34/1"))
        kept = decode(encode(image, extension)).metadata.xmp
        assert kept is not None and b"52,31" in kept


@pytest.mark.parametrize("bits", ["16", "32"])
@pytest.mark.parametrize("order", ["", "-le", "-be"])
def test_other_encodings_are_understood_with_and_without_a_byte_order_mark(bits: str, order: str) -> None:
    text = packet(b' tiff:Orientation="6"').decode().encode(f"utf-{bits}{order}")
    assert xmp.orientation(text) == 6
    assert b'tiff:Orientation="1"' in xmp.settled(text, 1, 1)


@pytest.mark.parametrize("before", [b"", b" ", b"\n\0", b"\0", b"\0\0\xff\xfe", b"<\0\0", b"\xff\xfe<"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.sampled(12)
def test_zeros_in_a_packet_are_read_or_refused(before: bytes, encoding: str) -> None:
    data = before + packet(b' tiff:Orientation="6"').decode().encode(encoding)
    assert xmp.orientation(data) in (6, None)
    try:
        after = xmp.settled(data, 1, 1)
    except xmp.BrokenPacketError:
        return
    assert b"\0" not in after


# what a network made says so

GENERATED, EDITED = (
    f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}"
    for term in ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
)
EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
CAPTURE = GENERATED.replace("trainedAlgorithmicMedia", "digitalCapture").encode()


def source_types(data: bytes) -> list[str]:
    """Returns what a packet says of it, by a reader of XML that is not ours."""
    root = ElementTree.fromstring(data.decode("utf-8-sig").partition("?>")[2] if data[:2] == b"<?" else data)
    name, found = f"{{{EXT}}}DigitalSourceType", []
    for node in root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"):
        found += [node.attrib[name]] if name in node.attrib else []
        found += [each.text or "" for each in node.findall(name)]
    return found


IPTC = b' xmlns:Iptc4xmpExt="' + EXT.encode() + b'"'
PACKETS = {
    "none": None,
    "something else": packet(b' xmp:Rating="5"', b"<dc:title>A &amp; B</dc:title>"),
    "an attribute": packet(IPTC + b" Iptc4xmpExt:DigitalSourceType = '" + CAPTURE + b"'"),
    "an element": packet(
        IPTC, b"<Iptc4xmpExt:DigitalSourceType>%b</Iptc4xmpExt:DigitalSourceType>" % CAPTURE
    ),
    "a resource": packet(IPTC, b'<Iptc4xmpExt:DigitalSourceType rdf:resource="%b"/>' % CAPTURE),
    "a list": packet(
        IPTC,
        b"<Iptc4xmpExt:DigitalSourceType><rdf:Bag><rdf:li>%b</rdf:li></rdf:Bag>"
        b"</Iptc4xmpExt:DigitalSourceType>" % CAPTURE,
    ),
    "another prefix": packet(b' xmlns:e="%b" e:DigitalSourceType="%b"' % (EXT.encode(), CAPTURE)),
    "the prefix for something else": packet(b' xmlns:Iptc4xmpExt="urn:x" Iptc4xmpExt:DigitalSourceType="7"'),
    "the prefix for something else, from outside": packet(b' Iptc4xmpExt:DigitalSourceType="7"').replace(
        b"<rdf:RDF", b'<rdf:RDF xmlns:Iptc4xmpExt="urn:x"'
    ),
    "said twice": packet(IPTC + b' Iptc4xmpExt:DigitalSourceType="%b"' % CAPTURE).replace(
        b"</rdf:RDF>",
        b'<rdf:Description%b Iptc4xmpExt:DigitalSourceType="%b"/></rdf:RDF>' % (IPTC, CAPTURE),
    ),
    "the other property of a thing in it": packet(
        IPTC,
        b"<Iptc4xmpExt:ArtworkOrObject><rdf:Bag><rdf:li><rdf:Description><Iptc4xmpExt:AOTitle>x"
        b"</Iptc4xmpExt:AOTitle></rdf:Description></rdf:li></rdf:Bag></Iptc4xmpExt:ArtworkOrObject>",
    ),
    "no description": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + RDF % b"" + b"</x:xmpmeta>",
}


@pytest.mark.parametrize("before", PACKETS.values(), ids=list(PACKETS))
@pytest.mark.parametrize("term", [GENERATED, EDITED])
@pytest.mark.sampled(12)
def test_the_mark_joins_what_is_there(before: bytes | None, term: str) -> None:
    after = xmp.with_source_type(before, term)
    assert source_types(after) == [term]
    assert xmp.with_source_type(after, term) == after
    assert xmp.with_source_type(xmp.settled(after, 7, 8), term) == xmp.settled(after, 7, 8)
    for kept in (b'xmp:Rating="5"', b"<dc:title>A &amp; B</dc:title>", b"AOTitle", b'DigitalSourceType="7"'):
        assert (kept in after) == (kept in (before or b""))
    utf_16 = (before or b"").decode().encode("utf-16") if before else None
    assert xmp.with_source_type(utf_16, term) == after


@pytest.mark.parametrize(
    "said", [GENERATED, GENERATED.replace("trained", "composite").replace("AlgorithmicMedia", "Synthetic")]
)
def test_what_was_created_stays_so_when_it_is_edited(said: str) -> None:
    text = said.encode()
    for before in (
        packet(IPTC + b' Iptc4xmpExt:DigitalSourceType="%b"' % text),
        packet(IPTC, b"<Iptc4xmpExt:DigitalSourceType>%b</Iptc4xmpExt:DigitalSourceType>" % text),
        packet(IPTC, b'<Iptc4xmpExt:DigitalSourceType rdf:resource="%b"/>' % text),
    ):
        assert source_types(xmp.with_source_type(before, EDITED)) == [said]
        assert source_types(xmp.with_source_type(before, GENERATED)) == [GENERATED]


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tif", ".avif", ".bmp", ".ppm"])
def test_the_mark_is_in_every_file_that_holds_xmp(extension: str) -> None:
    own = packet(b' xmp:Rating="5"', b"<dc:title>" + b"A" * 70_000 + b"</dc:title>")
    for before in (None, packet(b' xmp:Rating="5"'), own):
        image = picture().replace(metadata=Metadata(xmp=before, source_type=GENERATED))
        ready = prepare(image, extension)
        found = decode(encode(ready, extension)).metadata.xmp
        assert encode(ready, extension) == encode(image, extension)
        if extension in (".bmp", ".ppm"):
            assert found is None and "the mark of what a network made" in ready.warnings[0]
            assert len(ready.warnings) == 1
            continue
        assert found is not None and source_types(found) == [GENERATED] and not ready.warnings
        assert before is None or b'xmp:Rating="5"' in found
        assert before is not own or found.count(b"A" * 70_000) == 1
        bare = decode(encode(image, extension, EncodeOptions(strip_metadata=True))).metadata.xmp
        assert bare is not None and source_types(bare) == [GENERATED] and b"Rating" not in bare


# what is no packet


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">%b]>' % b"".join(
    b'<!ENTITY a%d "%b">' % (i, b"&a%d;" % (i - 1) * 10 if i else b"&a;" * 10) for i in range(12)
)


@pytest.mark.parametrize(
    "broken",
    [b"", b"\0" * 9, b"nonsense", b"<x>", packet()[:-40], BOMB + RDF % b"&a11;", b"\xff\xfe<", b"<x>\xff</x>",
     b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + RDF % b""],
)  # fmt: skip
def test_what_is_no_xml_is_dropped_with_a_word(broken: bytes) -> None:
    with pytest.raises(BrokenPacketError):
        xmp.settled(broken, 1, 1)
    data = jpeg_with(from_pillow(smooth(3), "JPEG"), (0xE1, _SIGN + broken))
    image = decode(data)
    assert image.metadata.xmp is None
    assert not broken or any("XMP" in warning for warning in image.warnings)


@pytest.mark.parametrize(
    "content",
    [
        b"<a/>" * 2**18,
        b"<a>" * 2**17 + b"</a>" * 2**17,
        b"<rdf:Description>" + b"<tiff:Orientation>6</tiff:Orientation>" * 25_000 + b"</rdf:Description>",
        b"<a " + b" ".join(b'a%d="1"' % i for i in range(70_000)) + b"/>",
        b"<a" + b" " * 2**20 + b"/>",
        b" " * 2**20,
    ],
    ids=["elements", "depth", "orientations", "attributes", "space in a tag", "space"],
)
@pytest.mark.sampled(2)
def test_a_large_packet_takes_linear_time(content: bytes) -> None:
    start = time.process_time()
    try:
        xmp.settled(RDF % content, 1, 1)
        xmp.fitted(RDF % content, 10)
    except BrokenPacketError:
        pass
    assert time.process_time() - start < 3


# in JPEG


def test_a_packet_for_several_segments_is_one_packet_again() -> None:
    """The standard's extension: an identifier, and parts in any order."""
    words = b"<dc:description>" + b"word " * 40_000 + b"</dc:description>"
    image = picture().replace(metadata=Metadata(xmp=packet(b' tiff:Orientation="1"', words)))
    data = encode(image, ".jpg")
    back = decode(data)
    assert back.warnings == () and back.metadata.xmp is not None
    assert words in back.metadata.xmp and b"HasExtendedXMP" not in back.metadata.xmp
    sign = b"http://ns.adobe.com/xmp/extension/\0"
    parts = [part for part in data.split(b"\xff\xe1") if part[2:].startswith(sign)]
    assert len(parts) == 4 and len({part[len(sign) + 2 :][:32] for part in parts}) == 1
    swapped = data.replace(parts[0], b"@").replace(parts[1], parts[0]).replace(b"@", parts[1], 1)
    assert decode(swapped).metadata.xmp == back.metadata.xmp
    lost = decode(data.replace(b"\xff\xe1" + parts[2], b""))
    assert lost.metadata.xmp is not None and words not in lost.metadata.xmp
    assert any("extended part of XMP" in warning for warning in lost.warnings)
    again = decode(encode(back, ".jpg"))
    assert again.metadata.xmp is not None and words in again.metadata.xmp


def test_a_claim_of_gigabytes_takes_no_memory() -> None:
    sign = b"http://ns.adobe.com/xmp/extension/\0"
    main_packet = packet(
        b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%b"' % (b"A" * 32)
    )
    more = sign + b"A" * 32 + struct.pack(">II", 2**32 - 1, 0) + b"<x/>"
    image = decode(jpeg_with(from_pillow(smooth(3), "JPEG"), (0xE1, _SIGN + main_packet), (0xE1, more)))
    assert any("extended part" in warning for warning in image.warnings)


def test_padding_goes_before_an_extension_is_needed() -> None:
    padded = packet(b"", b"<dc:a>x</dc:a>").replace(b"  \n<?xpacket", b" " * 70_000 + b"<?xpacket")
    data = encode(picture().replace(metadata=Metadata(xmp=padded)), ".jpg")
    assert b"xmp/extension" not in data and len(data) < 60_000


def test_iptc_and_comments_in_jpeg() -> None:
    records = b"\x1c\x02\x19\0\x07holiday" + b"\x1c\x02\x50\0\x03Ada"
    text = (("Comment", "Grüße ☀"), ("Comment", "second"), ("Title", "no place for it"))
    image = picture().replace(metadata=Metadata(iptc=records, text=text))
    data = encode(image, ".jpg")
    back = decode(data)
    assert back.metadata.iptc == records and back.metadata.text == text[:2]
    from PIL import IptcImagePlugin

    assert IptcImagePlugin.getiptcinfo(Pillow.open(io.BytesIO(data))) == {
        (2, 25): b"holiday",
        (2, 80): b"Ada",
    }
    assert Pillow.open(io.BytesIO(data)).info["comment"] is not None
    assert [w for w in prepare(image, ".jpg").warnings if "'Title'" in w] and "Comment" not in str(
        prepare(image, ".jpg").warnings
    )
    too_long = image.replace(metadata=Metadata(iptc=records * 6000))
    assert any("IPTC" in warning for warning in prepare(too_long, ".jpg").warnings)
    latin = decode(jpeg_with(from_pillow(smooth(3), "JPEG"), (0xFE, "Grüße\0".encode("latin-1"))))
    assert latin.metadata.text == (("Comment", "Grüße"),)
    resources = b"Photoshop 3.0\0" + b"8BIM\3\xed\3abc\0\0\0\1x\0" + b"8BIM\4\4\0\0\0\0\0\x0c" + records[:12]
    assert decode(jpeg_with(from_pillow(smooth(3), "JPEG"), (0xED, resources))).metadata.iptc == records[:12]
    for cut in range(len(resources)):
        decode(jpeg_with(from_pillow(smooth(3), "JPEG"), (0xED, resources[:cut])))


def test_a_long_comment_is_kept_whole() -> None:
    text = "☀" * 30_000
    back = decode(encode(picture().replace(metadata=Metadata(text=(("Comment", text),))), ".jpg"))
    assert "".join(words for _, words in back.metadata.text) == text


# resolution


@pytest.mark.parametrize("dpi", [(300, 300), (72, 144), (118.11 * 2.54, 118.11 * 2.54)])
def test_density_survives_and_exif_agrees(dpi: tuple[float, float]) -> None:
    exif = Pillow.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 72.0, 72.0, 3
    image = picture().replace(exif=exif.tobytes()[6:], metadata=Metadata(resolution=dpi))
    data = encode(image, ".jpg")
    back = decode(data)
    assert back.metadata.resolution == pytest.approx(dpi, abs=0.6)
    assert back.exif is not None
    assert exif_module.resolution(back.exif) == pytest.approx(dpi, abs=1.2)
    assert opened(back.exif)[0x0128] == 2
    assert Pillow.open(io.BytesIO(data)).info["dpi"] == pytest.approx(dpi, abs=1)
    assert prepare(image, ".webp").warnings == ()  # EXIF says the same there
    assert any("resolution" in w for w in prepare(image.replace(exif=None), ".webp").warnings)
    assert prepare(prepare(image, ".jpg"), ".jpg").exif == prepare(image, ".jpg").exif


def test_an_aspect_ratio_is_no_resolution() -> None:
    assert decode(from_pillow(smooth(3), "JPEG")).metadata.resolution is None
    assert decode(from_pillow(smooth(3), "JPEG", dpi=(300, 300))).metadata.resolution == (300, 300)
    absurd = picture().replace(metadata=Metadata(resolution=(float("inf"), 0.0)))
    assert any("resolution" in warning for warning in prepare(absurd, ".jpg").warnings)
    assert decode(encode(absurd, ".jpg")).metadata.resolution is None


def test_xmp_and_density_survive_a_folder(test_data: Path, tmp_path: Path) -> None:
    case = test_data / "cases" / "12_metadata_silently_lost"
    files = [str(case / "xmp.jpg"), str(case / "dpi300.jpg")]
    done = CliRunner().invoke(cli, ["process", *files, "-o", str(tmp_path), "--op", "flip"])
    assert done.exit_code == 0, done.output
    packet = decode((tmp_path / "xmp.jpg").read_bytes()).metadata.xmp
    assert packet is not None and b"<rdf:li>holiday</rdf:li>" in packet
    with Pillow.open(tmp_path / "dpi300.jpg") as other:
        assert other.info["dpi"] == (300, 300)


# EXIF


def test_a_block_of_many_values_takes_linear_time(test_data: Path) -> None:
    data = (test_data / "cases/A15_cpu_amplifiers/png_exif_quadratic.png").read_bytes()
    start = time.process_time()
    decode(data)
    assert time.process_time() - start < 2
