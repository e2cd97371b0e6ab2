"""Model sessions for one thread and little memory: all of a worker's models share one arena. Needs onnxruntime."""

from __future__ import annotations

import ctypes

import onnxruntime as ort


class Sessions:
    """Opens models; make one in a process, before the first model."""

    def __init__(self) -> None:
        ort.disable_telemetry_events()
        memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(memory, None)

    def open(self, model: bytes) -> ort.InferenceSession:
        """Return a session of `model`: one thread, no spinning, since the gateway has other things to do."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # The pattern of one run's memory would be kept for the next: a quarter more memory, no faster.
        options.enable_mem_pattern = False
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # What reading the model took goes back: the next model and the pictures find it free.
        ctypes.CDLL(None).malloc_trim(0)
        return session
