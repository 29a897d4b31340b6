"""Where runs stand, why, and what they say."""
