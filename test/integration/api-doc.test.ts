/**
 * docs/API.md names everything that the package exports; its examples, and those of docs/SINKS.md,
 * do what their comments say. README.md stays short. What these link to is there. No document has
 * lines that are too long.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as mmdump from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** A block of code; the language that it names, and its lines. */
const CODE_BLOCK = /^```(\w*)\n([\s\S]*?)^```$/gm;
const README_WORDS = 800;
const LINE_CHARACTERS = 100;

/** Every name that src/main/index.ts exports, types included. */
function exportedNames(): string[] {
  const source = read('src/main/index.ts').replaceAll(/\/\*[\s\S]*?\*\//g, '');
  const lists = [...source.matchAll(/^export (?:type )?\{([^}]*)\} from/gm)];
  return lists.flatMap(([, list = '']) =>
    list
      .split(',')
      .map((item) =>
        item
          .trim()
          .replace(/^type /, '')
          .replace(/^.* as /, ''),
      )
      .filter((name) => name !== ''),
  );
}

/** What stands in headings, in blocks of code and in backticks. */
function codeOf(markdown: string): string {
  const blocks = [...markdown.matchAll(CODE_BLOCK)].map(([, , code]) => code);
  const text = markdown.replaceAll(CODE_BLOCK, '');
  const headings = text.match(/^#+ .*$/gm) ?? [];
  const inline = text.match(/`[^`]+`/g) ?? [];
  return [...blocks, ...headings, ...inline].join('\n');
}

/** The address that GitHub gives a heading. */
function anchorOf(heading: string): string {
  return heading
    .replace(/^#+ /, '')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

/** Links of a document that lead nowhere: to a file that is not there, or to a heading. */
function brokenLinks(path: string): string[] {
  const text = read(path).replaceAll(CODE_BLOCK, '');
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return targets.filter((target) => {
    if (/^[a-z]+:/.test(target)) return false;
    const [file = '', anchor] = target.split('#');
    const found = file === '' ? join(root, path) : resolve(root, dirname(path), file);
    if (!existsSync(found)) return true;
    if (anchor === undefined) return false;
    const headings = readFileSync(found, 'utf8')
      .replaceAll(CODE_BLOCK, '')
      .match(/^#+ .*$/gm);
    return headings?.map(anchorOf).includes(anchor) !== true;
  });
}

describe('docs/API.md', () => {
  const names = exportedNames();
  const documented = codeOf(read('docs/API.md'));

  it('names every value and every type that the package exports', () => {
    expect(names.length).toBeGreaterThan(100);
    expect(Object.keys(mmdump).filter((name) => !names.includes(name))).toEqual([]);
    const isNamed = (name: string): boolean => new RegExp(`\\b${name}\\b`).test(documented);
    expect(names.filter((name) => !isNamed(name))).toEqual([]);
  });

  it('links to what is there, and so does docs/SINKS.md', () => {
    for (const path of ['docs/API.md', 'docs/SINKS.md']) expect(brokenLinks(path)).toEqual([]);
  });

  describe('examples', () => {
    const examples = [...(read('docs/API.md') + read('docs/SINKS.md')).matchAll(CODE_BLOCK)]
      .filter(([, language, code = '']) => language === 'js' && /^import .* from/m.test(code))
      .map(([, , code = '']) => code);
    let directory = '';

    // A program of its own, which finds the package by its name.
    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), 'mmdump-examples-'));
      mkdirSync(join(directory, 'node_modules'));
      symlinkSync(root, join(directory, 'node_modules/mmdump'));
    });
    afterAll(() => rmSync(directory, { recursive: true }));

    it('are there', () => {
      expect(examples.length).toBeGreaterThan(5);
    });

    it.each(examples.map((code, index) => [index + 1, code] as const))(
      'number %i runs and prints what it says',
      (number, code) => {
        const path = join(directory, `example-${number}.mjs`);
        writeFileSync(path, code);
        const printed = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)];
        const { status, stdout, stderr } = spawnSync(process.execPath, [path], {
          encoding: 'utf8',
        });
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        expect(stdout.trim().split('\n')).toEqual(printed.map(([, text]) => text));
      },
    );
  });
});

describe('README.md', () => {
  it(`has at most ${README_WORDS} words`, () => {
    const words = read('README.md').trim().split(/\s+/); // as wc -w counts them
    expect(words.length).toBeLessThanOrEqual(README_WORDS);
  });

  it('links to what is there', () => {
    expect(brokenLinks('README.md')).toEqual([]);
  });
});

describe('the documents', () => {
  const paths = [
    ...readdirSync(root).filter((path) => path.endsWith('.md')),
    ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.md'))
      .map((path) => join('docs', path)),
  ];

  it.each(paths)(`%s has lines of at most ${LINE_CHARACTERS} characters`, (path) => {
    // A row of a table cannot be wrapped, and neither can a link.
    const isWhole = (line: string): boolean => /^ *\|/.test(line) || /^\S*https?:\S*$/.test(line);
    const isLong = (line: string): boolean => [...line].length > LINE_CHARACTERS && !isWhole(line);
    expect(read(path).split('\n').filter(isLong)).toEqual([]);
  });
});
