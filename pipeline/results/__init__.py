"""What was measured once and is shown since: `networks.json` of pipeline.sizes, and `leaderboard.json` once there is one."""
