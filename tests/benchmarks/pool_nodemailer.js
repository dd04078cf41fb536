// The peer: nodemailer's pool, composing each letter itself. Arguments: port, number of letters, a file {text, html, files}, connections.
const fs = require("fs");
const path = require("path");
const nodemailer = require("nodemailer");
const nunjucks = require("nunjucks");

const [port, letters, file, connections] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4], Number(process.argv[5])];

(async () => {
    const sample = JSON.parse(fs.readFileSync(file, "utf8"));
    const template = (text, escape) => nunjucks.compile(text.replaceAll("Organization 000001", "{{ organization }}"), new nunjucks.Environment(null, { autoescape: escape }));
    const [asText, asHtml] = [template(sample.text, false), template(sample.html, true)];
    const attachments = sample.files.map((name) => ({ filename: path.basename(name), content: fs.readFileSync(name), contentType: "application/pdf" }));
    const pool = nodemailer.createTransport({
        pool: true, host: "127.0.0.1", port, secure: false, ignoreTLS: true, maxConnections: connections, maxMessages: Infinity,
    });
    let next = 1;
    async function lane() {
        while (next <= letters) {
            const number = next++, name = `Organization ${String(number).padStart(6, "0")}`;
            await pool.sendMail({
                from: "Secretariat <circulars@secretariat.example>",
                to: `office${String(number).padStart(6, "0")}@org${number % 97}.example`,
                subject: "Spring meeting of the working group",
                text: asText.render({ organization: name }),
                html: asHtml.render({ organization: name }),
                attachments,
            });
        }
    }
    await Promise.all(Array.from({ length: 2 * connections }, lane));
    pool.close();
})();
