/** What this thread digests the pages of images with. */
import { PayloadDigest } from '../../../shared/digest/payload-digest.ts';
import { loadDigestKernels } from '../../package/kernels.ts';

let digest: PayloadDigest | undefined;

/** Used between two turns only, so one is enough for all images that this thread reads. */
export function threadDigest(): PayloadDigest {
  digest ??= new PayloadDigest(loadDigestKernels().inside);
  return digest;
}
