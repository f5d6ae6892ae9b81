"""Who is served when: the queue of clicks, the one way of a click, and images that are prepared before their first."""
