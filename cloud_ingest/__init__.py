"""MQTT in, database out: subscribe, decode, write, acknowledge. Only what is stored is acknowledged."""
