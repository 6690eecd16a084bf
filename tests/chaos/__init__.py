"""A node under fire: real servers, workers and beats, killed by plan while feeds change, and what it must be then."""
