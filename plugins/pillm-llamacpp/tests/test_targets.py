from __future__ import annotations

import re
import tarfile

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.building.targets import KNOWN, PROGRAMS, TARGETS, check_programs

import pillm


def test_a_board_gets_static_programs_for_its_own_instructions_and_no_newer_ones() -> None:
    pi4, pi5 = (TARGETS[name].options(PROGRAMS) for name in ("pi4", "pi5"))
    assert pi4["GGML_CPU_ARM_ARCH"] == "armv8-a+crc"
    assert "dotprod" in pi5["GGML_CPU_ARM_ARCH"]
    assert {one["GGML_NATIVE"] for one in (pi4, pi5)} == {"OFF"}
    assert {one["CMAKE_EXE_LINKER_FLAGS"] for one in (pi4, pi5)} == {"-static"}


def test_this_machine_gets_all_that_its_processor_can_do() -> None:
    assert TARGETS["this"].options(PROGRAMS)["GGML_NATIVE"] == "ON"
    assert TARGETS["this"].cpu is None


def test_the_matrix_tiles_that_some_compilers_break_are_left_out_on_this_machine() -> None:
    options = TARGETS["this"].options(PROGRAMS)
    assert {options[name] for name in ("CMAKE_C_FLAGS_INIT", "CMAKE_CXX_FLAGS_INIT")} == {"-U__AMX_INT8__"}
    with tarfile.open(source.archive_path()) as tar:
        kernels = [one for one in tar.getnames() if one.endswith("ggml-cpu/amx/mmq.cpp")]
        file = tar.extractfile(kernels[0])
        assert file is not None
        assert "defined(__AMX_INT8__)" in file.read().decode()  # without it nothing of them is compiled


def test_the_examples_are_configured_only_where_one_is_wanted() -> None:
    assert TARGETS["pi4"].options(("llama-bench",))["LLAMA_BUILD_EXAMPLES"] == "OFF"
    assert TARGETS["pi4"].options(("llama-embedding",))["LLAMA_BUILD_EXAMPLES"] == "ON"


def test_a_program_that_llama_cpp_does_not_have_is_named_with_those_that_it_has() -> None:
    with pytest.raises(pillm.ConfigError, match=r"no program llama-run, main\. Known: llama-completion"):
        check_programs(("llama-run", "llama-bench", "main"))
    with pytest.raises(pillm.ConfigError, match="none was named"):
        check_programs(())


def test_the_pinned_source_has_every_program_and_every_switch() -> None:
    cmake = ""
    with tarfile.open(source.archive_path()) as tar:
        for member in tar:
            inside = member.name.removeprefix(f"{source._PREFIX}/")
            if inside == "ggml/CMakeLists.txt" or re.fullmatch(r"(CMakeLists|(tools|examples)/[^/]+/CMakeLists)\.txt", inside):
                file = tar.extractfile(member)
                cmake += file.read().decode() if file else ""
    targets = set(re.findall(r"set\(TARGET (llama-[\w-]+)\)", cmake))
    assert set(KNOWN) <= targets
    declared = set(re.findall(r"(?:option|set)\((\w+)", cmake)) | {"LLAMA_BUILD_COMMIT"}
    for target in TARGETS.values():
        wanted = {name for name in target.options(PROGRAMS) if not name.startswith("CMAKE_")}
        assert wanted - declared == set()
