"""Machine translation of questions: back ends, a cache of what they made, and the stage."""
