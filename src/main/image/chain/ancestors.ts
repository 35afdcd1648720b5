/**
 * Finds the ancestors of an image: its parent, the parent of that, and so on. Only file heads are
 * read, 72 bytes of each candidate. The head of an image names the id of its parent, and the
 * checksum of the head of its parent, by which the parent is found. Whether it really has that id
 * is checked when its records are read (`chain.ts`). Only if several candidates have the same head,
 * as whole images of one length have, their records are read at once.
 *
 * The candidates are the images that the caller gives, in their order. If the parent is not among
 * them, those that lie in the directory of the image follow: files named *.cpt or *.cpt.000,
 * ascending by name, at most CANDIDATES_MAX of them.
 */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MmdumpError } from '../../../shared/errors.ts';
import type { ImageHead } from '../../../shared/formats/cpt/head.ts';
import { CHAIN_MAX } from '../../../shared/formats/cpt/records.ts';
import { imageOfFirstPart } from '../../../shared/formats/parts.ts';
import { ImageProblem } from '../../../shared/formats/problem.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import type { MemoryImage } from '../../sinks/memory-sink.ts';
import { IndexBudget } from '../index/index-budget.ts';
import { openSource } from '../source/open-source.ts';
import { readRecords } from '../stream/read-records.ts';
import { readHead } from '../stream/walk.ts';

/** Most files of a directory that are looked at. */
const CANDIDATES_MAX = 4096;
/** File heads that are read at the same time. */
const HEADS_AT_ONCE = 16;

/** An image that another one needs. */
export interface Ancestor {
  /** The id that it must have. */
  readonly id: string;
  readonly from: string | MemoryImage;
  readonly head: ImageHead;
}

/** How ancestors are looked for. */
export interface FindOptions {
  readonly signal?: AbortSignal | undefined;
  /** Most bytes of memory that the records of a candidate may take. */
  readonly maxIndexBytes?: number | undefined;
}

/** An image whose head was read. */
type Candidate = Omit<Ancestor, 'id'>;

/**
 * The ancestors of an image, the parent first. `name` is the name of the image for messages, `path`
 * its path if it has one. Throws IMAGE_PARENT_MISSING, IMAGE_CORRUPT if the chain is too long, and
 * AbortError.
 */
export async function findAncestors(
  name: string,
  path: string | null,
  head: ImageHead,
  given: readonly (string | MemoryImage)[],
  { signal, maxIndexBytes }: FindOptions,
): Promise<Ancestor[]> {
  const ancestors: Ancestor[] = [];
  if (head.parent === null) return ancestors;
  const candidates = new Candidates(given, path, { signal, maxIndexBytes });
  for (let child = head; child.parent !== null; ) {
    if (ancestors.length === CHAIN_MAX - 1) throw tooLong(name);
    const found = await candidates.find(child.parentCrc, child.parent);
    if (found === undefined) throw missing(name, child.parent, ancestors.length, candidates.looked);
    ancestors.push({ id: child.parent, ...found });
    child = found.head;
  }
  return ancestors;
}

/** The images among which ancestors are looked for, by the checksum of their heads. */
class Candidates {
  /** Where the last `find` that found nothing has looked. */
  looked = '';
  readonly #given: readonly (string | MemoryImage)[];
  readonly #path: string | null;
  readonly #options: FindOptions;
  readonly #byCrc = new Map<number, Candidate[]>();
  #stage: 'nothing' | 'given' | 'directory' = 'nothing';

  constructor(given: readonly (string | MemoryImage)[], path: string | null, options: FindOptions) {
    this.#given = given;
    this.#path = path;
    this.#options = options;
  }

  /** The image whose head has this checksum, the one with this id if there are several. */
  async find(crc: number, id: string): Promise<Candidate | undefined> {
    if (this.#stage === 'nothing') {
      this.#stage = 'given';
      await this.#look(this.#given, true);
    }
    if (!this.#byCrc.has(crc) && this.#stage === 'given' && this.#path !== null) {
      this.#stage = 'directory';
      await this.#look(await this.#besides(this.#path), false);
    }
    const given = this.#given.length === 0 ? '' : `${this.#given.length} given images, `;
    const directory = this.#path === null ? 'no directory' : `'${dirname(this.#path)}'`;
    this.looked = `${given}${directory}`;
    const [first, ...others] = this.#byCrc.get(crc) ?? [];
    if (first === undefined || others.length === 0) return first;
    for (const candidate of [first, ...others]) {
      if ((await idOf(candidate.from, this.#options)) === id) return candidate;
    }
    return first; // its child will say that it is another image
  }

  /** Paths of the images in the directory of the image. */
  async #besides(path: string): Promise<string[]> {
    const directory = dirname(path);
    // A directory that cannot be listed holds no candidate; the caller can name the parent.
    const names = await readdir(directory).catch((): string[] => []);
    const images = names.filter((name) => name.endsWith('.cpt') || name.endsWith('.cpt.000'));
    return images
      .sort()
      .slice(0, CANDIDATES_MAX)
      .map((name) => join(directory, name));
  }

  /** Reads the heads of these images. With `mustOpen` an image that cannot be read is an error. */
  async #look(images: readonly (string | MemoryImage)[], mustOpen: boolean): Promise<void> {
    for (let from = 0; from < images.length; from += HEADS_AT_ONCE) {
      throwIfAborted(this.#options.signal);
      const some = images.slice(from, from + HEADS_AT_ONCE);
      const heads = await Promise.all(some.map((image) => headOf(image, mustOpen)));
      heads.forEach((head, index) => {
        if (head === undefined) return;
        const same = this.#byCrc.get(head.recordCrc);
        const candidate = { from: some[index]!, head };
        if (same === undefined) this.#byCrc.set(head.recordCrc, [candidate]);
        else same.push(candidate);
      });
    }
  }
}

/** The head of an image. Undefined for what is no image, or a damaged one. */
async function headOf(
  from: string | MemoryImage,
  mustOpen: boolean,
): Promise<ImageHead | undefined> {
  try {
    const source = await openSource(typeof from === 'string' ? wholeImage(from) : from);
    try {
      return await readHead(source);
    } finally {
      await source.close();
    }
  } catch (error) {
    const isDamaged = error instanceof ImageProblem || error instanceof MmdumpError;
    const isUnreadable = error instanceof MmdumpError && error.code === 'INPUT_FAILED';
    if (isDamaged && !(mustOpen && isUnreadable)) return undefined;
    throw error;
  }
}

/** The id of an image. Undefined for a damaged one. */
async function idOf(
  from: string | MemoryImage,
  { signal, maxIndexBytes }: FindOptions,
): Promise<string | undefined> {
  const source = await openSource(typeof from === 'string' ? wholeImage(from) : from);
  try {
    const budget = new IndexBudget(source.name, maxIndexBytes);
    return (await readRecords(source, budget, signal)).id;
  } catch (error) {
    if (error instanceof MmdumpError) return undefined;
    throw error;
  } finally {
    await source.close();
  }
}

function wholeImage(path: string): string {
  return imageOfFirstPart(path) ?? path;
}

function missing(name: string, id: string, generation: number, looked: string): MmdumpError {
  const what = generation === 0 ? 'its parent' : `its ancestor ${generation + 1}`;
  const message =
    `${name}: ${what} is image ${id}, which was not found (looked at: ${looked}); ` +
    "put it beside the image, or name it with 'parents'";
  return new MmdumpError('IMAGE_PARENT_MISSING', message, { reason: id });
}

function tooLong(name: string): MmdumpError {
  const message = `${name}: its chain of parents has more than ${CHAIN_MAX} images, or is a circle`;
  return new MmdumpError('IMAGE_CORRUPT', message, { offset: 0 });
}
