"""What was measured once and is shown since: `networks.json` of pipeline.studies.network_facts, and `leaderboard.json`."""
