import logging

from music.quiet import hide_missing_kernels


def test_a_kernel_that_nobody_asked_for_is_not_missed(caplog):
    hide_missing_kernels()
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please [...]", "No module")
    logger.warning("another warning")
    assert caplog.messages == ["another warning"]
