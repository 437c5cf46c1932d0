from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp.runner import LocalRunner, VulkanRunner
from pillm_llamacpp.vulkan import BROADCOM, SOFTWARE, Device, choose, compare, find_device, judge, record
from pillm_llamacpp_tiny import answers, request

import pillm

ROOT = Path(__file__).parents[3]
LIBRARY = os.environ.get("PILLM_VULKAN_LIBRARY", "")
V3D = Device(0, "V3D 4.2.14", BROADCOM, 1)
LLVMPIPE = Device(1, "llvmpipe (LLVM 15.0.6, 256 bits)", 0x10005, SOFTWARE)
ARC = Device(2, "Intel(R) Arc(tm) A380 Graphics", 0x8086, 2)


def test_the_first_device_that_is_fit_is_taken_and_another_by_its_number_or_name() -> None:
    assert choose([V3D, LLVMPIPE, ARC], None, force=False) is ARC
    assert choose([V3D, LLVMPIPE, ARC], "1", force=True) is LLVMPIPE
    assert choose([V3D, LLVMPIPE, ARC], "arc", force=False) is ARC
    with pytest.raises(pillm.ConfigError, match=r"no Vulkan device 'radeon' here\. There is: 0: V3D"):
        choose([V3D], "radeon", force=False)


def test_what_is_unfit_is_refused_with_its_reason() -> None:
    with pytest.raises(
        pillm.ConfigError, match=r"V3D 4\.2\.14 is refused: it has 16 KiB of shared memory.*llvmpipe.*force=true"
    ):
        choose([V3D, LLVMPIPE], None, force=False)
    with pytest.raises(pillm.ConfigError, match="seconds for a token"):
        choose([V3D], "0", force=True)
    assert Device(0, "V3D 7.1.7", 0, 1).refusal(force=True)


def test_a_build_without_vulkan_says_how_to_get_one() -> None:
    if LIBRARY and os.environ.get("LLAMA_CPP_LIB_PATH"):
        pytest.skip("not installed: a llama.cpp without Vulkan")
    with pytest.raises(pillm.MissingDependency, match=r"was built without Vulkan; the system lists .*GGML_VULKAN=on"):
        find_device()


def found(**changes: Any) -> dict[str, Any]:
    return {"places": 48, "largest": 0.3, "peak": 20.0, "kld": 0.2, "others": [[3, 1, 2, 0.1]], **changes}


def test_rounding_passes_and_another_computation_does_not() -> None:
    near = judge(found(), "gpu")
    assert (near.places, near.ties, near.kld) == (48, 1, pytest.approx(0.2 / 48))
    for wrong in ({"largest": 3.0}, {"kld": 2.0}, {"others": [[3, 1, 2, 2.0]]}):
        with pytest.raises(pillm.BackendError, match="gpu and the CPU do not agree on a fixed text"):
            judge(found(**wrong), "gpu")
    with pytest.raises(pillm.BackendError, match="NaN or infinite logits at token 7"):
        judge({"places": 48, "unfinite": "the file", "at": 7}, "gpu")


def test_the_gate_compares_what_two_processes_compute(exported: dict[str, pillm.ModelFile], tmp_path: Path) -> None:
    options, device = {"threads": 1, "gpu_layers": 0}, Device(0, "another", 0, 2)
    asked = record(exported["Q8_0"].path, options, str(tmp_path / "logits"))
    same = judge(compare(exported["Q8_0"].path, device, options, asked), device.name)
    assert (same.largest, same.top1) == (0.0, 1.0)
    with pytest.raises(pillm.BackendError, match="another and the CPU do not agree"):
        judge(compare(exported["IQ4_NL"].path, device, options, asked), device.name)


@pytest.fixture
def vulkan(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Return the renderer in software, as a llama.cpp that was built with Vulkan may use it."""
    if not (Path(LIBRARY) / "libggml-vulkan.so").is_file():
        pytest.skip("not built: libllama with Vulkan (-DGGML_VULKAN=ON; name its folder in PILLM_VULKAN_LIBRARY)")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", LIBRARY)
    try:
        return find_device("llvmpipe", force=True)
    except (pillm.MissingDependency, pillm.ConfigError) as error:
        pytest.skip(f"not installed: mesa-vulkan-drivers ({error})")


@pytest.mark.full
def test_a_model_answers_through_vulkan_as_on_the_cpu(vulkan: Device) -> None:
    model = pillm.ModelFile.of(ROOT / "rpi4" / "selftest" / "tiny.gguf", "Q4_K_M")
    with pytest.raises(pillm.ConfigError, match="force=true"):
        VulkanRunner().check()
    asked = [request("a quiet board", 1)]
    (there,) = answers(VulkanRunner(force=True, max_tokens=4, parallel=1), model, asked)
    (here,) = answers(LocalRunner(max_tokens=4, parallel=1), model, asked)
    assert isinstance(there, pillm.Answer)
    assert isinstance(here, pillm.Answer)
    assert there.token_ids == here.token_ids
