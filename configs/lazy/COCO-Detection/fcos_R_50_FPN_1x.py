"""Detectron2's own recipe for FCOS, with the detector that can be explained in its place."""

from detectron2 import model_zoo

from odam_d2.meta_arch import OdamFCOS

stock = model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.py")
model, dataloader, train = stock.model, stock.dataloader, stock.train
optimizer, lr_multiplier = stock.optimizer, stock.lr_multiplier
del stock

model._target_ = OdamFCOS
