"""Tests that need a CUDA device: `make test-gpu PYTHON=<an interpreter with torch, numpy, safetensors and pytest>`.

They need nothing else of the project, so that they run on any GPU machine as it stands. Without a device they skip.
"""

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device; skips with the reason where there is none")


def pytest_report_header() -> str:
    if not torch.cuda.is_available():
        return f"torch {torch.__version__}, no CUDA device"
    major, minor = torch.cuda.get_device_capability()
    return f"torch {torch.__version__}, {torch.cuda.get_device_name()}, compute capability {major}.{minor}"
