// Chat templates; the same as xtask/native/src/templates.rs does on the host.

/** Keys that name or describe an entry; all others are variables of the template. */
const NOT_VARIABLES = new Set([
  'name',
  'id',
  'description',
  'source',
  'template',
  'chat_template',
  'vars',
  'expected',
  'error',
]);

/** `jinja-features.json`: each case has its own template. */
export async function features(file, render) {
  const cases = [];
  for (const item of file.cases ?? []) {
    const context = contextOf(file, [{ messages: item.messages ?? null }, item.vars]);
    cases.push(await render(item.template, context));
  }
  return { cases };
}

/** `chat-templates.json`: every template with every conversation. */
export async function chats(file, render) {
  const templates = {};
  for (const [templateName, template] of entries(file.templates)) {
    const source =
      typeof template === 'string'
        ? template
        : (template.template ?? template.chat_template ?? template.source);
    templates[templateName] = {};
    for (const [name, entry] of entries(file.conversations)) {
      const conversation = Array.isArray(entry) ? { messages: entry } : entry;
      const context = contextOf(file, [template, template?.vars, conversation, conversation?.vars]);
      templates[templateName][name] = await render(source, context);
    }
  }
  return { templates };
}

/** Named entries of a map, or of a list whose items have a name (or are known by their place). */
function entries(value) {
  if (Array.isArray(value))
    return value.map((entry, index) => [entry?.name ?? entry?.id ?? String(index), entry]);
  return Object.entries(value ?? {});
}

/** The file's defaults and clock, then the variables of each layer over those before. */
function contextOf(file, layers) {
  const context = {};
  if (file.now) context.now = file.now;
  for (const layer of [file.defaults, ...layers]) {
    if (!layer || typeof layer !== 'object' || Array.isArray(layer)) continue;
    for (const [key, value] of Object.entries(layer)) {
      if (!NOT_VARIABLES.has(key)) context[key] = value;
    }
  }
  return context;
}
