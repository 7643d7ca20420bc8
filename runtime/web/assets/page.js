// Fetches the page again and puts what differs in its place, so that scrolling, focus and
// selection stay. When that fails, the page says since when it is out of date.
"use strict";

const content = document.getElementById("content");
const stale = document.getElementById("stale");
let fresh = new Date();

function same(a, b) {
  return a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;
}

function patch(old, now) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== now.data) old.data = now.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!now.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of now.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const before = [...old.childNodes];
  [...now.childNodes].forEach((child, i) => {
    if (i >= before.length) {
      old.append(document.importNode(child, true));
    } else if (same(before[i], child)) {
      patch(before[i], child);
    } else {
      before[i].replaceWith(document.importNode(child, true));
    }
  });
  before.slice(now.childNodes.length).forEach((child) => child.remove());
}

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = page.getElementById("content");
  if (!now) { // logged out, or the service is gone
    location.reload();
    return;
  }
  patch(content, now);
  document.title = page.title;
  fresh = new Date();
  stale.hidden = true;
}

async function follow() {
  if (!document.hidden) {
    try {
      await refresh();
    } catch {
      const text = "The instance does not answer. This is how things stood at " + fresh.toLocaleTimeString() + ".";
      if (stale.textContent !== text) stale.textContent = text;
      stale.hidden = false;
    }
  }
  setTimeout(follow, Number(content.dataset.refresh));
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh().catch(() => {}); });
setTimeout(follow, Number(content.dataset.refresh));
