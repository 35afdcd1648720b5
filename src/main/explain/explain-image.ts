/** Explains what an image says about one page, and where its bytes lie. */
import { instanceOf, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { DIGEST, digestText } from '../../shared/digest/digest-kind.ts';
import { addressOf, PAGE_SIZE, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { Image } from '../image/image.ts';
import { BLOCK, type Block, hasContent } from '../image/index/block-index.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import type { MmChoice, PageInfo } from '../image/pages/page-info.ts';
import type { ImageContents } from '../image/read/image-contents.ts';

/** A block of an image: a PAGES or COPYPAGES record and its pages. */
export interface ImageBlock {
  /** Address of its first page. */
  readonly start: number;
  /** Address after its last page. */
  readonly end: number;
  /** Byte of the image at which its pages begin; null if it has none of its own there. */
  readonly payload: number | null;
  /** The digest of its pages, in hexadecimal; null if it has none. */
  readonly digest: string | null;
  /** Whether its pages are those of the mapped file although the mapping is private. */
  readonly filePages: boolean;
}

/** Where the bytes of a page lie. */
export interface StoredPlace {
  /** Id of the image that stores them: this one, or one of its ancestors. */
  readonly id: string;
  /** Path of that image; null for an image in memory. */
  readonly path: string | null;
  /** Ordinal of the mm in that image whose block holds them. */
  readonly mm: number;
  /** Byte of that image at which the page begins. */
  readonly offset: number;
}

/** What an image says about a page, and why. */
export interface ImagePageExplanation {
  /** Address of the first byte of the page. */
  readonly address: number;
  /** Ordinal of its mm. */
  readonly mm: number;
  /** The kind of the page, as `Image.page` tells it. */
  readonly kind: PageInfo['kind'];
  /** The mapping of the page; null if there is none. */
  readonly vma: ImageVma | null;
  /** The block of the page; null for an absent page. */
  readonly block: ImageBlock | null;
  /** Ordinal of the mm that stores the bytes of a clone; otherwise null. */
  readonly donor: number | null;
  /** What a read finds: bytes that are stored, zeros, or nothing (PAGE_ABSENT). */
  readonly reads: 'stored' | 'zeros' | 'nothing';
  /** Where the bytes lie; null if none are stored. */
  readonly stored: StoredPlace | null;
  /** What it means, in words. */
  readonly reason: string;
}

const IMAGE = instanceOf(Image, 'an Image');
const ADDRESS = wholeNumber(0, TASK_SIZE - 1);
const MM_CHOICE: Shape<MmChoice> = { mm: optional(wholeNumber(0)) };

/**
 * Explains the page that holds a byte address, from the records of the image and its ancestors. It
 * reads no page. It rejects with OPTION_INVALID, IMAGE_CLOSED and, where the records of ancestors
 * have to be read, as `openImage` does.
 */
export async function explainImagePage(
  image: Image,
  address: number,
  choice: MmChoice = {},
): Promise<ImagePageExplanation> {
  IMAGE('image', image);
  const vpn = vpnOf(ADDRESS('address', address));
  const { mm: ordinal } = optionsOf('explainImagePage', choice, MM_CHOICE);
  return await image.use(async (contents) => {
    await contents.openChain();
    return explain(image, contents, contents.mm(ordinal), vpn);
  });
}

function explain(
  image: Image,
  contents: ImageContents,
  mm: ImageMm,
  vpn: number,
): ImagePageExplanation {
  const address = addressOf(vpn);
  const { kind, vma } = image.page(address, { mm: mm.ordinal });
  const block = mm.blocks.find(vpn);
  const found = contents.look(mm, address, PAGE_SIZE);
  const donor = block?.kind === BLOCK.CLONE ? (contents.mmAt(block.source)?.ordinal ?? null) : null;
  const page = {
    address,
    mm: mm.ordinal,
    kind,
    vma,
    block: block === undefined ? null : blockOf(block),
    donor,
  };
  if (found.kind === 'absent') {
    return { ...page, reads: 'nothing', stored: null, reason: found.reason };
  }
  if (found.kind !== 'stored') {
    const isRecorded = kind === 'zero';
    const reason = isRecorded ? 'the page is zeros' : 'no page is stored: it reads as zeros';
    return { ...page, reads: 'zeros', stored: null, reason };
  }
  const { source, from, mm: owner } = found;
  const offset = found.block.source + from;
  const place = { ...imageOf(image, contents, source), mm: owner.ordinal, offset };
  return { ...page, reads: 'stored', stored: place, reason: reasonOf(kind, donor, owner.ordinal) };
}

function blockOf(block: Block): ImageBlock {
  return {
    start: addressOf(block.start),
    end: addressOf(block.start + block.pages),
    payload: block.kind === BLOCK.DATA ? block.source : null,
    digest: hasContent(block) && block.digest !== DIGEST.NONE ? digestText(block) : null,
    filePages: block.isFilePages,
  };
}

/** The image of the chain that has this source. */
function imageOf(
  image: Image,
  { source: own, chain }: ImageContents,
  source: ImageContents['source'],
): { readonly id: string; readonly path: string | null } {
  if (source === own) return { id: image.id, path: image.path };
  const ordinal = chain.ancestors.findIndex((_, index) => chain.get(index)?.source === source);
  const { id, path } = image.ancestors[ordinal]!;
  return { id, path };
}

function reasonOf(kind: PageInfo['kind'], donor: number | null, owner: number): string {
  if (kind === 'copy') return 'the image stores its bytes here';
  if (kind === 'parent') return 'the parent shows it at the same place';
  if (donor !== null) return `mm ${donor} stores its bytes, at the same address`;
  return `a page of its file, which another mapping stores (mm ${owner})`;
}
