"""The gateway process: devices to MQTT, with a privacy gate and a durable buffer between."""
