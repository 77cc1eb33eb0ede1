"""A pool beneath well-known HTTP clients. Nothing is imported until it is asked for by name:

    from loggos.balance.adapters.httpx import AsyncBalancedTransport, BalancedTransport
    from loggos.balance.adapters.aiohttp import BalancedSession

    http.py       what both share: which answers blame an end point, which requests may be sent again
"""
