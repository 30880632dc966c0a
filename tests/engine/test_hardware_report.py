"""What a node says of its own machine: the driver's readings of the GPU that torch sees, and nothing that it does not tell."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from longboard_tasks import hardware
from longboard_tasks.contract import HardwareReport

UUID = "8d6f2b3a-0000-4000-8000-5c1e9a7b4d21"


class NotSupported(Exception):
    pass


class Driver(ModuleType):
    """NVML of a machine whose second GPU is the one at hand. `mute`: calls that this device does not support."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2

    def __init__(self, mute: tuple[str, ...] = ()) -> None:
        super().__init__("pynvml")
        self.mute = mute

    def nvmlInit(self) -> None:
        self._say("nvmlInit", None)

    def _say(self, call: str, answer: object) -> object:
        if call in self.mute:
            raise NotSupported(call)
        return answer

    def nvmlSystemGetDriverVersion(self) -> object:
        return self._say("nvmlSystemGetDriverVersion", "580.95.05")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> object:
        if uuid != f"GPU-{UUID}":
            raise NotSupported(uuid)
        return self._say("nvmlDeviceGetHandleByUUID", "second")

    def _of(self, handle: object, call: str, answer: object) -> object:
        if handle != "second":
            raise NotSupported(handle)
        return self._say(call, answer)

    def nvmlDeviceGetMaxClockInfo(self, handle: object, clock: int) -> object:
        return self._of(handle, "nvmlDeviceGetMaxClockInfo", {1: 1980, 2: 2619}[clock])

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: object) -> object:
        return self._of(handle, "nvmlDeviceGetEnforcedPowerLimit", 700_000)

    def nvmlDeviceGetVbiosVersion(self, handle: object) -> object:
        return self._of(handle, "nvmlDeviceGetVbiosVersion", "96.00.CF.00.01")

    def nvmlDeviceGetEccMode(self, handle: object) -> object:
        return self._of(handle, "nvmlDeviceGetEccMode", [1, 0])

    def nvmlDeviceGetMaxPcieLinkWidth(self, handle: object) -> object:
        return self._of(handle, "nvmlDeviceGetMaxPcieLinkWidth", 16)


def report_of(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> HardwareReport:
    seen = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=85_017_755_648, uuid=UUID)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: seen)
    return hardware.hardware_report.__wrapped__()  # not the report that this process has kept


def test_the_report_has_clocks_power_firmware_ecc_and_link_of_the_gpu_that_torch_sees(monkeypatch) -> None:
    report = report_of(Driver(), monkeypatch)
    assert (report.device, report.kind, report.driver) == ("NVIDIA H100 80GB HBM3", "cuda", "580.95.05")
    assert (report.clock_mhz, report.memory_clock_mhz, report.power_limit_w) == (1980, 2619, 700.0)
    assert (report.vbios, report.ecc, report.pcie_width) == ("96.00.CF.00.01", True, 16)
    assert report.ram_bytes is not None
    assert UUID not in report.model_dump_json()


def test_a_reading_that_the_device_does_not_support_is_absent_and_the_others_stand(monkeypatch) -> None:
    report = report_of(Driver(mute=("nvmlDeviceGetEccMode", "nvmlDeviceGetEnforcedPowerLimit")), monkeypatch)
    assert (report.ecc, report.power_limit_w) == (None, None)
    assert (report.clock_mhz, report.vbios) == (1980, "96.00.CF.00.01")


def test_a_device_that_nvml_does_not_know_leaves_the_drivers_version(monkeypatch) -> None:
    report = report_of(Driver(mute=("nvmlDeviceGetHandleByUUID",)), monkeypatch)
    assert report.driver == "580.95.05"
    assert (report.clock_mhz, report.memory_clock_mhz, report.ecc, report.pcie_width) == (None, None, None, None)


def test_without_nvml_the_report_is_what_torch_knows(monkeypatch) -> None:
    report = report_of(Driver(mute=("nvmlInit",)), monkeypatch)
    assert (report.driver, report.vbios, report.clock_mhz) == ("", "", None)
    assert report.memory_bytes == 85_017_755_648


def test_a_run_on_the_cpu_reports_the_cpu_and_its_memory() -> None:
    report = hardware.hardware_report(use_accelerator=False)
    assert report.kind == "cpu"
    assert report.ram_bytes == report.memory_bytes
    assert (report.clock_mhz, report.ecc) == (None, None)
