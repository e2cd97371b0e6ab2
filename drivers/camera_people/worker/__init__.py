"""The worker: a process of its own that looks at a camera and tells numbers; only it imports cv2 and onnxruntime."""
