"""What is wrong with estimates whatever they score: facts by target and track, measured once, judged by the gate."""
