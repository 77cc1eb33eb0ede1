"""What a browser and a monitoring system see of one node: GET /metrics (OpenMetrics), /status (JSON), / (a page for people)."""
