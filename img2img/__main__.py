"""`python -m img2img` is the `img2img` command."""

from img2img.cli.main import main

if __name__ == "__main__":
    main()
