/**
 * Reads the declarations of the built package: every exported declaration, and every type that one
 * of them mentions. It uses a parser that is independent of the compiler that wrote them.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'rolldown/experimental';

/** A syntax node, as the parser produces it. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly [key: string]: unknown;
}

/** A declaration, at any level. */
export interface Declaration {
  readonly name: string;
  readonly module: Module;
  readonly node: Node;
}

/** A member, or the declaration itself, named as in messages. */
export interface Documented {
  readonly name: string;
  readonly hasDoc: boolean;
  readonly isOptional: boolean;
  /** The source text of its type. */
  readonly text: string;
}

class Module {
  readonly url: URL;
  readonly text: string;
  readonly body: readonly Node[];
  readonly #docs: ReadonlyMap<number, boolean>;

  constructor(url: URL) {
    this.url = url;
    this.text = readFileSync(url, 'utf8');
    const { program, comments, errors } = parseSync(fileURLToPath(url), this.text, { lang: 'dts' });
    if (errors.length > 0) throw new Error(`${url.href}: ${errors[0]?.message}`);
    this.body = program.body as unknown as Node[];
    this.#docs = new Map(comments.map(({ value, end }) => [end, value.startsWith('*')]));
  }

  /** Whether a comment that contains words stands directly before the node. */
  hasDoc({ start }: Node): boolean {
    const before = this.text.slice(0, start).trimEnd().length;
    return this.#docs.get(before) === true;
  }
}

const modules = new Map<string, Module>();

function moduleAt(url: URL): Module {
  const known = modules.get(url.href) ?? new Module(url);
  modules.set(url.href, known);
  return known;
}

/** Resolves an import of 'x.ts' or 'x.js' to 'x.d.ts'. */
function imported(from: Module, specifier: string): Module | undefined {
  if (!specifier.startsWith('.')) return undefined; // it belongs to Node or to another package
  return moduleAt(new URL(specifier.replace(/\.[jt]s$/, '.d.ts'), from.url));
}

function nodes(value: unknown): Node[] {
  return (Array.isArray(value) ? value : []) as Node[];
}

function nameOf(node: unknown): string {
  const { name, value } = node as { readonly name?: string; readonly value?: string };
  return name ?? value ?? '';
}

/** Returns the declarations in a statement, exported or not. */
function declarationsIn(statement: Node): Node[] {
  const inner = (statement.declaration as Node | null | undefined) ?? statement;
  return inner.type === 'VariableDeclaration' ? nodes(inner.declarations) : [inner];
}

/** Returns every declaration of a name in a module: a function may have several signatures. */
export function find(module: Module, name: string): Declaration[] {
  const found: Declaration[] = [];
  for (const statement of module.body) {
    if (statement.type === 'ImportDeclaration' || statement.type === 'ExportNamedDeclaration') {
      const { source } = statement as unknown as { readonly source: { value: string } | null };
      for (const specifier of nodes(statement.specifiers)) {
        const { local, exported, imported: theirs } = specifier;
        const isImport = statement.type === 'ImportDeclaration';
        if (nameOf(isImport ? local : exported) !== name) continue;
        const origin = source === null ? module : imported(module, source.value);
        if (origin !== undefined) found.push(...find(origin, nameOf(isImport ? theirs : local)));
      }
    }
    for (const node of declarationsIn(statement)) {
      if (node.id != null && nameOf(node.id) === name) found.push({ name, module, node });
    }
  }
  return found;
}

/** Returns the names that an index module exports, types included. */
export function exportedNames(index: URL): string[] {
  return moduleAt(index).body.flatMap(({ specifiers }) =>
    nodes(specifiers).map(({ exported }) => nameOf(exported)),
  );
}

/** Returns the exports of index.d.ts by name. */
export function exportsOf(index: URL): ReadonlyMap<string, Declaration[]> {
  const module = moduleAt(index);
  return new Map(exportedNames(index).map((name) => [name, find(module, name)]));
}

/** Returns the declaration and its members, including those of object types inside it. */
export function documentedIn({ name, module, node }: Declaration): Documented[] {
  const found: Documented[] = [];
  const statement = module.body.find(
    ({ start, end }) => start <= node.start && node.start < (end as number),
  )!;
  const add = (of: Node, called: string): void => {
    const text = module.text.slice(of.start, of.end as number);
    const hasDoc = module.hasDoc(of);
    found.push({ name: called, hasDoc, isOptional: of.optional === true, text });
  };
  add(statement, name);
  visit(node, (child, path) => {
    if (!MEMBERS.has(child.type) || child.accessibility === 'private') return;
    if ((child.key as Node).type === 'PrivateIdentifier') return;
    add(child, [name, ...path, keyOf(module, child)].join('.'));
  });
  return found;
}

const MEMBERS = new Set([
  'PropertyDefinition',
  'MethodDefinition',
  'TSAbstractPropertyDefinition',
  'TSAbstractMethodDefinition',
  'TSPropertySignature',
  'TSMethodSignature',
]);

function keyOf({ text }: Module, { key }: Node): string {
  const { start, end } = key as { readonly start: number; readonly end: number };
  return text.slice(start, end);
}

/** Calls `see` for every node below, with the names of the members that enclose it. */
function visit(
  node: Node,
  see: (node: Node, path: readonly string[]) => void,
  path: readonly string[] = [],
): void {
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child !== 'object' || child === null || !('type' in child)) continue;
      see(child as Node, path);
      const isMember = MEMBERS.has((child as Node).type);
      visit(child as Node, see, isMember ? [...path, nameOf((child as Node).key)] : path);
    }
  }
}

/** Returns the declarations of this package's types that a declaration mentions. */
export function mentioned({ module, node }: Declaration): Declaration[] {
  const parameters = new Set<string>();
  const names = new Set<string>();
  visit({ ...node, self: node } as unknown as Node, (child) => {
    if (child.type === 'TSTypeParameter') parameters.add(nameOf(child.name));
    if (child.type === 'TSTypeReference') names.add(nameOf(child.typeName));
    if (child.type === 'TSInterfaceHeritage' || child.type === 'TSClassImplements') {
      names.add(nameOf(child.expression));
    }
  });
  if (node.superClass != null) names.add(nameOf(node.superClass));
  return [...names].filter((name) => !parameters.has(name)).flatMap((name) => find(module, name));
}
