"""The floor: what a Python user writes first. A letter is made as an EmailMessage and sent by `aiosmtplib.send`, one by one.

Arguments: port, number of letters, a file {"text", "html", "files"} of a sample letter.
"""

import asyncio
import json
import sys
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib


async def _send(port: int, letters: int, text: str, html: str, files: list[Path]) -> None:
    enclosed = [(file.name, file.read_bytes()) for file in files]
    for number in range(1, letters + 1):
        message = EmailMessage()
        message["From"] = "Secretariat <circulars@secretariat.example>"
        message["To"] = f"office{number:06}@org{number % 97}.example"
        message["Subject"] = "Spring meeting of the working group"
        message["Message-ID"] = f"<{number}@secretariat.example>"
        name = f"Organization {number:06}"
        message.set_content(text.replace("Organization 000001", name))
        message.add_alternative(html.replace("Organization 000001", name), subtype="html")
        for filename, data in enclosed:
            message.add_attachment(data, maintype="application", subtype="pdf", filename=filename)
        await aiosmtplib.send(message, hostname="127.0.0.1", port=port, start_tls=False)


def main() -> None:
    """Send them all."""
    port, letters, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    sample = json.loads(file.read_text(encoding="utf-8"))
    asyncio.run(_send(port, letters, sample["text"], sample["html"], list(map(Path, sample["files"]))))


if __name__ == "__main__":
    main()
