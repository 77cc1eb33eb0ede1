"""Forecasts: what the load will be over a horizon, with intervals, judged against the seasonal naive forecast.

history.py      a series made fit to forecast: regular, complete, long enough; or why not
seasons.py      which seasons there are, and shifts of the level
models.py       seasonal naive, Theil-Sen trend with seasons, exponential smoothing: fitted, and simulated as paths
backtest.py     rolling origins: errors and coverage of every model on data it has not seen
forecast.py     `forecast`: the model that proved itself, growth events, the peak that capacity must hold
"""
