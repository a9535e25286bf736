/* peer.c: how this rank's device reaches another of its host. Asks by PCI address, since other ranks count devices in
 * their own way. Invariant: none of the calls makes a context, so nothing appears on the other device. */
#include "cuda/host.h"

/* NVLink alone carries atomics between devices as they are; PCIe does not. */
dpt_status dpt_cuda_peer(dpt_device *device, const char *pci, dpt_peer *peer) {
    int mine = ((const dpt_cuda_device *)device->state)->index, other = 0, access = 0, atomics = 0;
    *peer = (dpt_peer){.visible = false};
    if (cudaDeviceGetByPCIBusId(&other, pci) != cudaSuccess) {
        (void)cudaGetLastError(); /* not among the visible ones */
        return DPT_OK;
    }
    peer->visible = true;
    if (other == mine) {
        peer->access = peer->nvlink = true;
        return DPT_OK;
    }
    DPT_TRY(DPT_CUDA(cudaDeviceCanAccessPeer(&access, mine, other)));
    peer->access = access != 0;
    if (!access) return DPT_OK;
    DPT_TRY(DPT_CUDA(cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, mine, other)));
    peer->nvlink = atomics != 0;
    return DPT_OK;
}
