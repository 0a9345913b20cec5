"""CrowdHuman's protocol: matching with ignore regions, AP, MR^-2, JI."""
