"use strict";
// Loading data: each shard is a script that calls visenvShard with its name and JSON text.

const visenvShard = (() => {
  const LIMIT = 40; // shards kept in memory
  const arrived = new Map();
  const waiting = new Map();
  // Where the browser knows trusted types, nothing but a data file of this site can become a script's address.
  const address = (name) => {
    if (!/^[0-9a-f]{24}$/.test(name)) throw new Error("not the name of a data file");
    return `data/${name}.js`;
  };
  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy("visenv", { createScriptURL: address })
    : { createScriptURL: address };

  /** Resolves to the data of a shard, loaded once. */
  visenv.load = (name) => {
    if (arrived.has(name)) return Promise.resolve(arrived.get(name));
    if (!waiting.has(name)) {
      waiting.set(
        name,
        new Promise((resolve, reject) => {
          const script = document.createElement("script");
          script.src = policy.createScriptURL(name);
          script.onload = () => {
            script.remove();
            waiting.delete(name);
            if (arrived.has(name)) resolve(arrived.get(name));
            else reject(new Error("a data file of this site is damaged"));
          };
          script.onerror = () => {
            script.remove();
            waiting.delete(name);
            reject(new Error("a data file of this site is missing"));
          };
          document.head.append(script);
        }),
      );
    }
    return waiting.get(name);
  };

  return (name, text) => {
    if (visenv.index === undefined) {
      visenv.index = JSON.parse(text); // the first shard, which the page itself names
      return;
    }
    arrived.set(name, JSON.parse(text));
    if (arrived.size > LIMIT) arrived.delete(arrived.keys().next().value);
  };
})();
