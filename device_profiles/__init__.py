"""Device models as data: one TOML file each, and the loader that validates them."""

from device_profiles.loader import SHIPPED, load_profile, profile_ids, read_profile

__all__ = ["SHIPPED", "load_profile", "profile_ids", "read_profile"]
