// What the prototype's classes find around them: its configuration and its views.
const CONFIG = { api: { baseUrl: '' } };
const shown = [];
const ui = new Proxy({}, { get: (_, name) => (...args) => shown.push([name, ...args]) });
