// Keeps the part of the page that is marked `data-live` up to date. Without this, a reload does.
"use strict";

const LOOK_MS = 5000;
const link = document.getElementById("link");
let isLoading = false;
let isStale = false;

const say = (text) => {
  if (link.textContent !== text) link.textContent = text;
  link.hidden = !text;
};

// Replace the live part by what the server says now; where the reader is stays where it is.
const refresh = async () => {
  if (isLoading) {
    isStale = true;
    return;
  }
  isLoading = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser()
      .parseFromString(await answer.text(), "text/html")
      .querySelector("[data-live]");
    const shown = document.querySelector("[data-live]");
    if (!answer.ok || !fresh || !shown) return;
    const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
    const lines = document.getElementById("lines");
    const isAtEnd = !lines || lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
    const top = lines ? lines.scrollTop : 0;
    shown.replaceWith(document.adoptNode(fresh));
    const now = document.getElementById("lines");
    if (now) now.scrollTop = isAtEnd ? now.scrollHeight : top;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    say("live");
  } catch {
    say("not connected");
  } finally {
    isLoading = false;
    if (isStale) {
      isStale = false;
      refresh();
    }
  }
};

const watch = () => {
  const events = new EventSource(location.href);
  events.addEventListener("open", () => {
    say("live");
    refresh();
  });
  events.addEventListener("changed", refresh);
  events.addEventListener("error", () => {
    say("not connected");
    if (events.readyState === EventSource.CLOSED) setInterval(refresh, LOOK_MS);
  });
};

const lines = document.getElementById("lines");
if (lines) lines.scrollTop = lines.scrollHeight;
document.getElementById("handler")?.addEventListener("change", (event) => event.target.form.submit());
if (document.querySelector("[data-live]")) watch();
