"""`spillway simulate`: try an HPA on a load before it is live."""
