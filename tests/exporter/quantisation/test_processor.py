import pytest

from eyespot.exporter.quantisation.processor import scheme_for, this_processor


@pytest.mark.parametrize(
    ("flags", "processor"),
    [
        ("fpu avx2 avx512f avx512_vnni", "vnni"),
        ("fpu avx2 avx_vnni", "vnni"),
        ("fpu avx2 avx512f", "avx2"),
        ("fpu avx2 avx512_vnni_of_another_name", "avx2"),
    ],
)
def test_flags_of_x86(tmp_path, flags, processor):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert this_processor(cpuinfo, machine="x86_64") == processor


def test_arm_is_told_by_the_machine(tmp_path):
    assert this_processor(tmp_path / "absent", machine="aarch64") == "arm"
    assert this_processor(tmp_path / "absent", machine="arm64") == "arm"


def test_in_doubt_weights_leave_room(tmp_path):
    assert this_processor(tmp_path / "absent", machine="x86_64") == "avx2"


def test_numbers_for_each_processor():
    vnni, avx2, arm = map(scheme_for, ("vnni", "avx2", "arm"))
    assert (vnni.activations, vnni.reduce_range) == ("uint8", False)
    assert (avx2.activations, avx2.reduce_range) == ("uint8", True)
    assert (arm.activations, arm.reduce_range) == ("int8", False)
    assert str(avx2) == "U8S8, weights of 7 bits"
