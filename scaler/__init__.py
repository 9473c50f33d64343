"""The pure core: synchronous, without I/O, clock, logging or asyncio. Time is always an argument."""
