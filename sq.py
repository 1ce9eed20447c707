import sys,torch,numpy as np
sys.argv=['x','/work/shared/oracles/autoattack/cnn_a_adv4_L1_4.00000_custom-square_100_bs100.json']
src=open('/tmp/aa/off.py').read().split("aa=AutoAttack")[0]; exec(src)
from autoattack.square import SquareAttack
import struct,json
def st(p):
    b=open(p,'rb').read(); n=struct.unpack('<Q',b[:8])[0]; h=json.loads(b[8:8+n]); out={}
    for k,v in h.items():
        if k=='__metadata__': continue
        a,e=v['data_offsets']; out[k]=torch.frombuffer(bytearray(b[8+n+a:8+n+e]),dtype=torch.float32).reshape(v['shape'])
    return out
with torch.no_grad(): right=(model(x).argmax(1)==y)
xs,ys=x[right],y[right]
for q in (0,1,2,5,20,60,200):
    sqa=SquareAttack(model,p_init=.8,n_queries=q,eps=4.,norm='L1',n_restarts=1,seed=0,verbose=False,device='cpu',resc_schedule=False)
    sqa.init_hyperparam(xs)
    torch.random.manual_seed(0)
    _,b=sqa.attack_single_run(xs,ys)
    o=st('/tmp/sq/ours_%d.safetensors'%q)
    d=(o['best']-b).abs().flatten(1).max(1)[0]
    print(q,'same x',torch.equal(o['x'],xs),'rows differing',(d>0).sum().item(),'max',d.max().item())
