"""What was measured once and is shown since: `networks.json` of pipeline.leaderboard.network_facts, and `leaderboard.json`."""
