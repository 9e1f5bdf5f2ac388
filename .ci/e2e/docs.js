// docs.js DIRECTORY URL [TOKEN]: opens the page at /docs in Chromium and prints for each thing that must hold a line of
// what, wanted and seen, with tabs between. It leaves screenshots in the directory.
const { execFile } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { promisify } = require("node:util");
const { chromium } = require("playwright-core");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [directory, url, token] = process.argv.slice(2);
const views = token ? { token: {} } : {
  wide: { viewport: { width: 1280, height: 900 } },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  narrow: { viewport: { width: 320, height: 640 } },
  prefix: {},
};
let view;

function check(what, want, got) {
  console.log([`${view}: ${what}`, want, got].map((text) => String(text).replaceAll(/\s+/g, " ")).join("\t"));
}

// behindPrefix starts a proxy that has the service under a path, and nothing else.
function behindPrefix(target) {
  const proxy = http.createServer((request, response) => {
    if (!request.url.startsWith("/some/where/")) return response.writeHead(404).end();
    const upstream = http.get(new URL(request.url.slice("/some/where".length), target), { headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    upstream.on("error", () => response.destroy());
  });
  return new Promise((resolve) => proxy.listen(0, "127.0.0.1", () => resolve([proxy, `http://127.0.0.1:${proxy.address().port}/some/where/`])));
}

// send sends the form as it is, and returns status and body of the answer that the page shows.
async function send(page, submit = () => page.getByRole("button", { name: "Send request" }).click()) {
  await submit(); // which empties what the page shows
  const answer = await page.getByRole("figure", { name: "Answer", exact: true }).locator("pre").textContent();
  const status = await page.getByRole("status").textContent();
  return { status: status.split(" in ")[0], body: JSON.parse(answer) };
}

async function checkAccess(page, when) {
  const { violations } = await page.evaluate(`${axe}; axe.run()`);
  check(`${when}: what axe finds`, "", violations.map((v) => `${v.id} at ${v.nodes[0].target}`).join(", "));
  check(`${when}: what sticks out of the window`, 0, await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
}

async function look(browser) {
  let base = url.replace(/docs$/, "");
  let proxy;
  if (view === "prefix") [proxy, base] = await behindPrefix(base);
  const page = await browser.newPage(views[view]);
  const said = [];
  const outside = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(error.message));
  page.on("request", (request) => { if (!/^data:/.test(request.url()) && !request.url().startsWith(base)) outside.push(request.url()); });

  await page.goto(`${base}docs/`);
  await page.locator("main[data-ready]").waitFor();
  check("where the slash at the end leads", `${base}docs`, page.url());
  check("title", "podero-facade: REST API", await page.title());
  check("language", "en", await page.locator("html").getAttribute("lang"));
  check("main landmark", 1, await page.getByRole("main").count());
  check("heading", "podero-facade", await page.getByRole("heading", { level: 1 }).textContent());
  await page.screenshot({ path: path.join(directory, `${view}-top.png`) });
  if (token) {
    await page.getByLabel("Bearer token").fill(token);
    check("what shows the token", "password", await page.getByLabel("Bearer token").getAttribute("type"));
  }

  // By keyboard alone.
  const button = page.getByRole("button", { name: "Send request" });
  let tabs = 0;
  while (!await button.evaluate((found) => found === document.activeElement) && tabs++ < 30) await page.keyboard.press("Tab");
  const first = await send(page, () => page.keyboard.press("Enter"));
  check("a call by keyboard: status", "200 OK", first.status);
  check("a call by keyboard: the user", "Peter 3c90c3cc-0d44-4b50-8888-8dd25736052a", `${first.body.first_name} ${first.body.id}`);
  await page.screenshot({ path: path.join(directory, `${view}-answer.png`) });

  const id = page.getByRole("textbox", { name: "external_id" });
  await id.fill("a/b c%é");
  check("an ID that needs escaping", "200 OK a/b c%é", await send(page).then(({ status, body }) => `${status} ${body.external_user_id}`));
  await id.fill("deleted");
  await page.getByRole("checkbox", { name: "include_deleted" }).check();
  check("a deleted user", "200 OK", (await send(page)).status);
  await page.getByRole("checkbox", { name: "include_deleted" }).uncheck();

  await checkAccess(page, "with an answer");
  await page.evaluate(() => document.querySelectorAll("details").forEach((folded) => { folded.open = true; }));
  await checkAccess(page, "unfolded");
  check("what the console says", "", said.join(" | "));

  // Chromium itself says in the console that an answer is an error.
  await id.fill("nobody");
  check("an unknown ID", "404 Not Found USER_NOT_FOUND", await send(page).then(({ status, body }) => `${status} ${body.reason}`));
  const header = page.getByRole("textbox", { name: "X-Request-Id" });
  await header.fill("it's-from-here");
  check("a request ID", "it's-from-here", (await send(page)).body.request_id);
  const curl = await page.getByRole("figure", { name: "Request", exact: true }).locator("pre").textContent();
  const { stdout } = await promisify(execFile)("bash", ["-c", `${curl} -sS --max-time 15`], { env: { ...process.env, TOKEN: token } });
  check("the curl that is shown", "it's-from-here USER_NOT_FOUND", `${JSON.parse(stdout).request_id} ${JSON.parse(stdout).reason}`);
  await header.fill("\u20ac");
  await page.getByRole("button", { name: "Send request" }).click();
  await page.getByRole("status").filter({ hasText: "There is no answer" }).waitFor();
  await header.fill("");
  if (token) {
    await page.getByLabel("Bearer token").fill("");
    check("without the token", "401 Unauthorized CALLER_UNAUTHENTICATED", await send(page).then(({ status, body }) => `${status} ${body.reason}`));
    check("the token in the page", -1, (await page.content()).indexOf(token));
  }
  check("requests elsewhere", "", outside.join(" "));
  await page.close();
  proxy?.close();
  proxy?.closeAllConnections();
}

(async () => {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  for (view of Object.keys(views)) await look(browser);
  await browser.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
