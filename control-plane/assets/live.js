// Keeps a page true without a reload: puts the content that `/live` sends in place of what differs, counts relative times, and says when
// the connection is lost. Without this file every page reads the same; it is only as old as its last load.
"use strict";
(() => {
  const TICK_LIMIT = 25_000; // two ticks of the server and some: silence for longer means that the page is old
  const GRACE = 3_000; // a reconnect that takes less is not worth a word
  const body = document.body;
  const at = (id) => document.getElementById(id);
  let stream = null;
  let heard = 0; // when the server was last heard
  let lostSince = 0; // when the connection broke; 0 while it stands
  let skew = 0; // the server's clock minus ours

  // --- times -----------------------------------------------------------------------------------------------------------

  const span = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };

  const forms = {
    ago: (past) => (past < 1 ? "just now" : `${span(past)} ago`),
    age: (past) => span(Math.max(past, 0)),
    until: (past) => (past > -1 ? "now" : `in ${span(-past)}`),
    clock: (_, date) => date.toLocaleTimeString([], { hour12: false }),
  };

  const showTimes = () => {
    const now = Date.now() + skew;
    for (const time of document.querySelectorAll("time[data-rel]")) {
      const date = new Date(time.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      const text = forms[time.dataset.rel]?.(Math.floor((now - date) / 1000), date);
      if (text && time.textContent !== text) time.textContent = text;
      const exact = date.toLocaleString([], { dateStyle: "medium", timeStyle: "long" });
      if (time.title !== exact) time.title = exact;
    }
  };

  // --- content ---------------------------------------------------------------------------------------------------------

  // Makes `from` equal to `to` and touches only what differs: focus, selection, scroll and opened details stay.
  const morph = (from, to) => {
    for (const { name, value } of [...to.attributes]) {
      if (from.getAttribute(name) !== value && !(from.nodeName === "TIME" && name === "title")) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(from.nodeName === "DETAILS" && name === "open")) from.removeAttribute(name);
    }
    if (from.nodeName === "FORM" || from.nodeName === "TIME") return; // what a person types, and what we count, is ours
    let next = from.firstChild;
    let surplus = from.childNodes.length - to.childNodes.length;
    for (const wanted of [...to.childNodes]) {
      const known = wanted.id ? at(wanted.id) : null;
      // Fewer are wanted than there are: what is in the way (a banner whose trouble is over) goes, and what follows it stays in place.
      while (surplus > 0 && next && !next.id && next !== known && next.nodeName !== wanted.nodeName) {
        const gone = next;
        next = next.nextSibling;
        gone.remove();
        surplus -= 1;
      }
      const kept = known?.parentNode === from ? known : next && !next.id && !wanted.id && next.nodeName === wanted.nodeName ? next : null;
      if (!kept) {
        from.insertBefore(document.importNode(wanted, true), next);
      } else {
        if (kept === next) next = next.nextSibling;
        else from.insertBefore(kept, next);
        if (kept.nodeType !== Node.ELEMENT_NODE) {
          if (kept.data !== wanted.data) kept.data = wanted.data;
        } else if (!kept.isEqualNode(wanted)) morph(kept, wanted);
      }
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  };

  // Lines that somebody is selecting stay as they are until the selection is gone.
  let waiting = null;
  const selecting = () => {
    const selection = getSelection();
    return !selection.isCollapsed && [...document.querySelectorAll(".log")].some((log) => selection.containsNode(log, true));
  };
  document.addEventListener("selectionchange", () => {
    if (waiting === null || selecting()) return;
    const html = waiting;
    waiting = null;
    show(html);
  });

  const show = (html) => {
    if (selecting()) {
      waiting = html;
      return;
    }
    waiting = null;
    const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("live");
    const shown = at("live");
    if (!fresh || !shown) return;
    if (fresh.dataset.spoken !== shown.dataset.spoken) at("spoken").textContent = fresh.dataset.spoken;
    document.title = fresh.dataset.title;
    morph(shown, fresh);
    showTimes();
  };

  // --- connection ------------------------------------------------------------------------------------------------------

  const say = (state, word) => {
    if (at("link").dataset.state === state) return;
    at("link").dataset.state = state;
    at("link-word").textContent = word;
  };

  const hear = () => {
    heard = Date.now();
    lostSince = 0;
    at("stale").hidden = true;
    say("live", "live");
  };

  const lose = () => {
    lostSince = lostSince || Date.now();
    say("lost", "reconnecting");
  };

  const close = () => {
    stream?.close();
    stream = null;
  };

  const open = () => {
    close();
    if (!body.dataset.live) return;
    stream = new EventSource(body.dataset.live);
    stream.addEventListener("hello", (event) => {
      const hello = JSON.parse(event.data);
      skew = Date.parse(hello.now) - Date.now();
      hear();
      if (hello.build !== body.dataset.build) location.reload();
    });
    stream.addEventListener("page", (event) => {
      hear();
      show(event.data);
    });
    stream.addEventListener("tick", hear);
    stream.onerror = lose;
  };

  const watch = () => {
    const now = Date.now();
    if (stream && heard && now - heard > TICK_LIMIT) lose();
    if (lostSince && now - lostSince > GRACE) {
      if (at("stale").hidden) {
        const since = at("stale-since");
        since.dateTime = new Date(heard || lostSince).toISOString();
        since.textContent = new Date(heard || lostSince).toLocaleTimeString([], { hour12: false });
        at("stale").hidden = false;
      }
      // The browser gives up after an answer that is no stream, and never notices a dead network: begin again ourselves.
      const dead = !stream || stream.readyState === EventSource.CLOSED || now - heard > TICK_LIMIT;
      if (dead && Math.floor((now - lostSince) / 1000) % 5 === 0) open();
    }
    showTimes();
  };

  // A browser allows six streams to one server over HTTP/1.1: a tab that nobody sees does not hold one.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else {
      heard = Date.now();
      open();
    }
  });

  if (body.dataset.live) {
    say("wait", "connecting");
    if (!document.hidden) open();
  }
  showTimes();
  setInterval(watch, 1000);
})();
