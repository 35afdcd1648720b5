/**
 * Recorded transcripts, as stored in the files of test/transcripts. Every machine can compare the
 * simulated one with them, even without a compiler and even without Linux.
 *
 *  KEY: VALUE                    the head: which kernel, its answers to the probes, when and how
 *  file KIND PAGES BYTES         the files that every history begins with
 *
 *  history NAME
 *  (the transcript; a listing equal to the previous one of its process is the line '  same')
 *
 * A transcript contains its steps, so that the plan is recorded together with the result: it stays
 * valid when the generator of random histories changes.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type FileSpec, type Plan, parsePlannedStep, stepText } from './history.ts';
import type { KernelProbes } from './running-kernel.ts';

export interface RecordedHistory {
  readonly name: string;
  readonly lines: readonly string[];
}

export interface Recording {
  /** Release of the kernel, as uname reports it. */
  readonly release: string;
  readonly probes: KernelProbes;
  /** When, how and where the recording was made. */
  readonly origin: string;
  readonly files: readonly FileSpec[];
  readonly histories: readonly RecordedHistory[];
}

const FOLDER = new URL('../../transcripts/', import.meta.url);
const SAME = '  same';
const RELEASE = 'release';
const ORIGIN = 'origin';
const PROBE = 'probe ';

/** Returns every recording by the name of its file. */
export function recordings(): ReadonlyMap<string, Recording> {
  const names = readdirSync(FOLDER).filter((name) => name.endsWith('.txt'));
  return new Map(
    names.sort().map((name) => [name, parseRecording(readFileSync(new URL(name, FOLDER), 'utf8'))]),
  );
}

export function printRecording(recording: Recording): string {
  const { release, probes, origin, files, histories } = recording;
  const head = [
    `${RELEASE}: ${release}`,
    ...Object.entries(probes).map(([name, answer]) => `${PROBE}${name}: ${answer}`),
    `${ORIGIN}: ${origin}`,
    ...files.map(({ kind, pages, bytes }) => `file ${kind} ${pages} ${bytes}`),
  ];
  const bodies = histories.map(({ name, lines }) => [`history ${name}`, ...shortened(lines)]);
  return `${[head, ...bodies].map((block) => block.join('\n')).join('\n\n')}\n`;
}

export function parseRecording(text: string): Recording {
  const [head = '', ...bodies] = text.trimEnd().split('\n\n');
  const values = new Map<string, string>();
  const files: FileSpec[] = [];
  for (const line of head.split('\n')) {
    const [, kind, pages, bytes] = /^file (memfd|tmpfs|disk) (\d+) (\d+)$/.exec(line) ?? [];
    const [, key = '', value = ''] = /^([^:]+): (.*)$/.exec(line) ?? [];
    if (kind === undefined) values.set(key, value);
    else files.push({ kind: kind as FileSpec['kind'], pages: Number(pages), bytes: Number(bytes) });
  }
  const answer = (name: string): string => values.get(PROBE + name) ?? 'null';
  const isSo = (name: string): boolean => answer(name) === 'true';
  return {
    release: values.get(RELEASE)!,
    probes: {
      zeroPage: isSo('zeroPage'),
      softDirty: answer('softDirty') === 'null' ? null : isSo('softDirty'),
      protectionKeys: isSo('protectionKeys'),
      hugePages: answer('hugePages'),
    },
    origin: values.get(ORIGIN)!,
    files,
    histories: bodies.map((body) => {
      const [title, ...lines] = body.split('\n');
      return { name: title!.slice('history '.length), lines: lengthened(lines) };
    }),
  };
}

/** Parses the steps of a transcript, so that they can run again. */
export function planOfTranscript(files: readonly FileSpec[], lines: readonly string[]): Plan {
  const texts = lines.filter(isStep);
  const steps = texts.map(parsePlannedStep);
  for (const [at, step] of steps.entries()) {
    if (stepText(step) !== texts[at]) throw new Error(`read '${texts[at]}' as '${stepText(step)}'`);
  }
  return { files, steps };
}

function isStep(line: string): boolean {
  return /^\d+ \w/.test(line);
}

function shortened(lines: readonly string[]): string[] {
  return withListings(lines, (listing, before) => {
    const isSame = listing.length > 0 && listing.join('\n') === before?.join('\n');
    return isSame ? [SAME] : listing;
  });
}

function lengthened(lines: readonly string[]): string[] {
  return withListings(lines, (listing, before) => (listing[0] === SAME ? before! : listing));
}

/**
 * Maps the listing of every step; `before` is the last listing of the same process in its long
 * form, whether that is the input or the output. The output of 'contents' is not a listing.
 */
function withListings(
  lines: readonly string[],
  map: (listing: readonly string[], before: readonly string[] | undefined) => readonly string[],
): string[] {
  const mapped: string[] = [];
  const last = new Map<string, readonly string[]>();
  for (let at = 0; at < lines.length; ) {
    const step = lines[at]!;
    let from = at + 1;
    if (lines[from]?.startsWith('=')) from++;
    let to = from;
    while (to < lines.length && lines[to]!.startsWith('  ')) to++;
    const [process, op] = step.split(' ') as [string, string];
    const listing = lines.slice(from, to);
    mapped.push(...lines.slice(at, from));
    if (op === 'contents') mapped.push(...listing);
    else {
      const other = map(listing, last.get(process));
      mapped.push(...other);
      last.set(process, listing[0] === SAME ? other : listing);
    }
    at = to;
  }
  return mapped;
}
