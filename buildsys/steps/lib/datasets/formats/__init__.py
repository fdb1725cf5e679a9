"""The formats of datasets that people have: Ultralytics, COCO, Pascal VOC, darknet, folders of classes."""
