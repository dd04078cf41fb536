// The peer: nodemailer's pool of ten connections, composing each letter itself. Arguments: port, number of letters, a file {text, html}.
const fs = require("fs");
const nodemailer = require("nodemailer");

const [port, letters, file] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];

(async () => {
    const sample = JSON.parse(fs.readFileSync(file, "utf8"));
    const pool = nodemailer.createTransport({
        pool: true, host: "127.0.0.1", port, secure: false, ignoreTLS: true, maxConnections: 10, maxMessages: Infinity,
    });
    let next = 1;
    async function lane() {
        while (next <= letters) {
            const number = next++, name = `Organization ${String(number).padStart(6, "0")}`;
            await pool.sendMail({
                from: "Secretariat <circulars@secretariat.example>",
                to: `office${String(number).padStart(6, "0")}@org${number % 97}.example`,
                subject: "Spring meeting of the working group",
                text: sample.text.replaceAll("Organization 000001", name),
                html: sample.html.replaceAll("Organization 000001", name),
            });
        }
    }
    await Promise.all(Array.from({ length: 20 }, lane));
    pool.close();
})();
