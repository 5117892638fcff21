"""The page for a browser: models over pictures and folders of this machine, and a look at trainings.

places     which folders it may touch
worker     the one thread that computes
models     what can be chosen, and opening it
pictures   one picture in, one out
folders    a folder in, a folder out
trainings  what a run has written so far
page       what people see; with `server` the only part that knows Gradio
server     serves it on this machine, and nowhere else
"""
