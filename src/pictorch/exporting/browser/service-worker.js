// Before this stand VERSION and FILES {path: hash}, which `pictorch export --to web` writes. The files are kept
// together under the version, each checked by its hash; a new version replaces them all or not at all.

const OURS = `pictorch ${registration.scope} `; // other folders of the same address have their own
const CACHE = OURS + VERSION;
const ROOT = new URL(registration.scope).pathname;

addEventListener("install", (event) => event.waitUntil(keep()));
addEventListener("activate", (event) => event.waitUntil(replaceOlder()));
addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin || !pathname.startsWith(ROOT)) return;
  const inside = pathname.slice(ROOT.length);
  const path = inside === "" || inside === "index.html" ? "./" : inside;
  if (Object.hasOwn(FILES, path)) event.respondWith(kept(path, event.request));
});

async function keep() {
  const cache = await caches.open(CACHE);
  await cache.addAll(Object.entries(FILES).map(([path, integrity]) => new Request(path, { integrity, cache: "no-cache" })));
  await skipWaiting();
}

async function replaceOlder() {
  for (const name of await caches.keys()) {
    if (name.startsWith(OURS) && name !== CACHE) await caches.delete(name);
  }
  await clients.claim();
}

async function kept(path, request) {
  return (await (await caches.open(CACHE)).match(path)) ?? fetch(request);
}
