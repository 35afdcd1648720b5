/**
 * Finds every layout table in source text, and what is wrong with it. Nobody lists the tables: a
 * table is a constant whose keys are in capitals and whose values are numbers, and the first words
 * of its doc comment say of which kind it is.
 *
 *   "Words of …"              offsets in words of 4 bytes; WORDS is the stride. Without WORDS, a
 *                             region of records or words begins at the last offset.
 *   "Fields of …"             offsets in bytes; SIZE is the stride
 *   "More words of TABLE: …"  words of another table of the same file
 *   "Other fields of TABLE …" fields that a variant of that table has in place of its own
 *   "Values …", "Bits …",     no layout
 *   "Numbers …", "Costs …"
 *
 * The comment of a field gives its width: "u64", "i32", "u8[16]", "char[80]", "Float64" or
 * "10 words"; one in the doc comment holds for every field. Without one, a field of a record takes
 * one word, or 8 bytes. Two words hold a u64 as halves, so it may lie at any word. A Float64, and
 * every field of a record of bytes, is aligned to its width.
 */
import { parseSync } from 'rolldown/experimental';

/** Words of a cache line: a region that follows the words of a header begins on a line of its own. */
const LINE_WORDS = 16;

export interface Field {
  readonly name: string;
  readonly at: number;
  readonly width: number;
  readonly alignment: number;
}

export interface Layout {
  readonly path: string;
  readonly name: string;
  readonly unit: 'words' | 'bytes';
  /** Undefined if a region without an end follows the fields. */
  readonly stride: number | undefined;
  readonly fields: readonly Field[];
}

export interface Found {
  readonly layouts: readonly Layout[];
  readonly problems: readonly string[];
}

/** A syntax node, as the parser produces it. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

/** A constant object, as it stands in the source. */
interface Table {
  readonly path: string;
  readonly name: string;
  readonly doc: string;
  readonly entries: readonly Entry[];
}

interface Entry {
  readonly key: string;
  /** Undefined if the value is not a number that is written out. */
  readonly value: number | undefined;
  readonly comment: string;
}

const LAYOUT = /^(?:the )?(words|fields)\b/i;
const CONTINUED = /^(more|other) (words|fields) of ([A-Z][A-Z_0-9]*)\b/i;
const NO_LAYOUT = /^(?:the )?(?:values|bits|numbers|costs)\b/i;
const IN_CAPITALS = /^[A-Z][A-Z_0-9]*$/;

/** Searches the given files, which are keyed by path. */
export function findLayouts(files: ReadonlyMap<string, string>): Found {
  const layouts: Layout[] = [];
  const problems: string[] = [];
  for (const [path, text] of files) {
    const found: Layout[] = [];
    for (const table of tablesOf(path, text)) {
      const at = `${path}: ${table.name}`;
      const say = (problem: string): void => void problems.push(`${at}: ${problem}`);
      const kind = kindOf(table);
      if (kind === 'other') continue;
      if (kind === 'unknown') {
        say(
          'its doc comment does not say whether these are words, fields, values, bits or numbers',
        );
        continue;
      }
      const unknown = table.entries.filter(({ value }) => value === undefined);
      for (const { key } of unknown) say(`${key} is not a number that is written out`);
      if (unknown.length > 0) continue;
      const layout = layoutOf(table, found, say);
      if (layout === undefined) continue;
      check(layout, say);
      found.push(layout);
    }
    layouts.push(...found);
  }
  return { layouts, problems };
}

function kindOf({ doc, entries }: Table): 'layout' | 'other' | 'unknown' {
  if (LAYOUT.test(doc) || CONTINUED.test(doc)) return 'layout';
  const isTable = entries.every(({ key, value }) => IN_CAPITALS.test(key) && value !== undefined);
  const hasStride = entries.some(({ key }) => key === 'WORDS');
  if (!isTable && !hasStride) return 'other';
  return NO_LAYOUT.test(doc) && !hasStride ? 'other' : 'unknown';
}

type Say = (problem: string) => void;

function layoutOf(table: Table, before: readonly Layout[], say: Say): Layout | undefined {
  const { path, name, doc, entries } = table;
  const [, how, what, base] = CONTINUED.exec(doc) ?? [];
  const unit = (what ?? LAYOUT.exec(doc)![1]!).toLowerCase() === 'words' ? 'words' : 'bytes';
  const strideName = unit === 'words' ? 'WORDS' : 'SIZE';
  // A key that ends in _WORDS is the stride of the records behind the header, and no offset.
  const offsets = entries.filter(({ key }) => key !== strideName && !key.endsWith('_WORDS'));
  const isU64 = /\bu64 fields\b/.test(doc);
  const fields = offsets.map(({ key, value, comment }) => {
    return { name: key, at: value!, ...sizeOf(unit, isU64 ? 'u64' : comment) };
  });
  const own = entries.find(({ key }) => key === strideName)?.value;
  if (base === undefined) {
    if (unit === 'bytes' && own === undefined) say('SIZE, its length in bytes, is missing');
    return { path, name, unit, stride: own, fields };
  }
  const continued = before.find((layout) => layout.name === base && layout.unit === unit);
  if (continued === undefined) {
    say(`the file has no table of ${unit} ${base} above it`);
    return undefined;
  }
  const shared = how!.toLowerCase() === 'more' ? continued.fields : [];
  return { path, name, unit, stride: continued.stride, fields: [...shared, ...fields] };
}

const NUMBER = /\b(?:[ui](8|16|32|64)|char)(?:\[(\d+)\])?/;
const WORD_COUNT = /\b(\d[\d_]*) words\b/;

function sizeOf(
  unit: Layout['unit'],
  comment: string,
): { readonly width: number; readonly alignment: number } {
  const [number, bits = '8', count = '1'] = NUMBER.exec(comment) ?? [];
  if (unit === 'bytes') {
    const alignment = number === undefined ? 8 : Number(bits) / 8;
    return { width: alignment * Number(count), alignment };
  }
  const words = WORD_COUNT.exec(comment)?.[1];
  if (words !== undefined) return { width: Number(words.replaceAll('_', '')), alignment: 1 };
  if (/\bFloat64\b/.test(comment)) return { width: 2, alignment: 2 };
  return { width: bits === '64' ? 2 : 1, alignment: 1 };
}

function check({ unit, stride, fields }: Layout, say: Say): void {
  const sorted = [...fields].sort((a, b) => a.at - b.at);
  const region = stride === undefined ? sorted.pop() : undefined;
  let [end, last] = [0, ''];
  for (const { name, at, width, alignment } of sorted) {
    if (at < end) say(`${name}, at ${at}, overlaps ${last}, which ends at ${end}`);
    if (at % alignment !== 0) say(`${name}, at ${at}, is not aligned to ${alignment} ${unit}`);
    const isRepeated = stride !== undefined && stride % alignment !== 0;
    if (isRepeated) say(`${name} is not aligned to ${alignment} ${unit} in every record`);
    [end, last] = [at + width, name];
    if (stride !== undefined && end > stride) say(`${name} ends at ${end}, beyond ${stride}`);
  }
  if (region === undefined) return;
  if (region.at < end) say(`${region.name}, at ${region.at}, begins before ${last} ends`);
  if (region.at % LINE_WORDS === 0) return;
  say(`${region.name}, at ${region.at}, begins a region, but no cache line of ${LINE_WORDS} words`);
}

/** Returns the objects of numbers that are constants of a file, exported or not. */
function tablesOf(path: string, text: string): Table[] {
  const { program, comments, errors } = parseSync(path, text, { lang: 'ts' });
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
  const docs = new Map(comments.map(({ value, end }) => [end, plain(value)]));
  const tables: Table[] = [];
  for (const statement of program.body as unknown as Node[]) {
    const declaration = (statement.declaration as Node | null | undefined) ?? statement;
    if (declaration.type !== 'VariableDeclaration') continue;
    const before = text.slice(0, statement.start).trimEnd().length;
    for (const { id, init } of declaration.declarations as { id: Node; init: Node | null }[]) {
      const object = objectIn(init);
      const entries = object && entriesOf(text, object, comments);
      if (entries === undefined || entries.length === 0) continue;
      tables.push({ path, name: String(id.name), doc: docs.get(before) ?? '', entries });
    }
  }
  return tables;
}

/** The text of a doc comment without its stars. */
function plain(comment: string): string {
  return comment
    .replaceAll(/^\s*\*/gm, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

/** Returns the object behind `as const`, `satisfies` and Object.freeze. */
function objectIn(node: Node | null): Node | undefined {
  if (node === null || node === undefined) return undefined;
  if (node.type === 'ObjectExpression') return node;
  if (node.type === 'TSAsExpression' || node.type === 'TSSatisfiesExpression') {
    return objectIn(node.expression as Node);
  }
  return node.type === 'CallExpression'
    ? objectIn((node.arguments as Node[])[0] ?? null)
    : undefined;
}

/** Returns undefined if the object is no table: it spreads another, or has computed keys. */
function entriesOf(
  text: string,
  object: Node,
  comments: readonly { readonly start: number; readonly value: string }[],
): Entry[] | undefined {
  const entries: Entry[] = [];
  for (const property of object.properties as Node[]) {
    const key = property.key as Node | undefined;
    if (key?.type !== 'Identifier' || property.computed === true) return undefined;
    const lineEnd = text.indexOf('\n', property.end);
    const behind = comments.find(({ start }) => start >= property.end && start < lineEnd);
    const comment = behind?.value.trim() ?? '';
    entries.push({ key: String(key.name), value: numberOf(property.value as Node), comment });
  }
  return entries;
}

function numberOf(node: Node): number | undefined {
  if (node.type === 'Literal' && typeof node.value === 'number') return node.value;
  if (node.type !== 'UnaryExpression' || node.operator !== '-') return undefined;
  const value = numberOf(node.argument as Node);
  return value === undefined ? undefined : -value;
}
